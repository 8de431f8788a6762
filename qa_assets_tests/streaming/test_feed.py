"""Test examples streamed, and predicted without Kafka."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qa_assets.core.examples import Example, Prediction
from qa_assets.deployment.serving import Predictor
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.feed import predict_feed, read_feed, send_feed
from qa_assets.streaming.micro_batch import Model
from qa_assets_tests.streaming.stream import Stream


def test_a_feed_is_answered_and_predicted_alike(stream: Stream, tmp_path: Path) -> None:
    examples = [
        Example(name, "group", {"question": f"what {name}?", "context": "some text"}, ["x"])
        for name in ("a", "none", "unasked", "unsent")
    ]
    rows, feed = tmp_path / "rows.parquet", tmp_path / "feed"
    pq.write_table(
        pa.Table.from_pylist([asdict(example) | {"extra": {"n": 1}} for example in examples]), rows
    )
    feed.mkdir()
    topic = send_feed(stream.context, examples[:3], feed)
    table = StreamDirectory(stream.out, topic.topic_id, stream.context).table
    unanswered = read_feed(table, feed)
    assert len(unanswered) == 3
    assert unanswered["answered_at"].isna().all()

    stream.run()
    model = Model("v1", Predictor(stream.predict))
    for _ in range(2):
        predict_feed(stream.spark, stream.context.task, model, feed, rows, stream.out)
    assert stream.predictions == 2, "the stream and the feed, which is not predicted again"
    answered = read_feed(table, feed).set_index("id")
    expected = {
        "a": Prediction("WHAT A? SOME TEXT", 0.5),
        "none": Prediction("", 0.5),
        "unasked": Prediction(""),
    }
    assert answered["prediction"].to_dict() == expected
    assert answered["batch_prediction"].to_dict() == expected
    assert set(answered["model_version"]) == {"v1"}
    assert (answered["answered_at"] > answered["asked_at"]).all()
