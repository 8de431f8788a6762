"""The consumer of the worker: models change between micro-batches, and a stop loses nothing."""

import threading
from dataclasses import replace

from qa_assets.deployment.serving import Predictor
from qa_assets.streaming.config import StreamConfig
from qa_assets.streaming.consumer import process_until
from qa_assets.streaming.micro_batch import Model
from qa_assets.streaming.summary import StreamSummary
from qa_assets_tests.streaming.stream import Stream
from qa_assets_tests.waiting import wait_for


def test_requests_are_answered_as_they_come_and_none_is_lost_at_the_end(stream: Stream) -> None:
    predictor = Predictor(stream.predict)
    models, stop, done = [Model("v1", predictor)], threading.Event(), list[StreamSummary]()

    def work() -> None:
        context = replace(stream.context, config=StreamConfig(max_offsets_per_trigger=5))
        done.append(process_until(stream.spark, context, lambda: models[-1], stream.out, stop))

    worker = threading.Thread(target=work)
    worker.start()
    stream.send([f"a{n}" for n in range(3)])
    wait_for(lambda: (stream.out / "table").exists() and len(stream.table()) == 3, 60)
    models.append(Model("v2", predictor))
    stream.send([f"b{n}" for n in range(20)])
    wait_for(lambda: len(stream.table()) > 3, 60)
    stop.set()  # in the midst of them
    worker.join(60)
    (summary,) = done
    assert summary.answered == len(stream.table()) == len(stream.responses())
    rest = stream.run()
    assert summary.answered + rest.answered == 23
    rows = stream.table()
    assert len(rows) == len({row["id"] for row in rows}) == 23
    assert len(stream.responses()) == 23
    assert {row["model_version"] for row in rows if row["id"].startswith("a")} == {"v1"}
    # what the thread had not finished, `run` answered
    assert {"v2"} <= {row["model_version"] for row in rows if row["id"].startswith("b")}


def test_a_process_that_answered_enough_ends_to_be_renewed(stream: Stream) -> None:
    stream.send([f"q{n}" for n in range(12)])
    config = StreamConfig(max_offsets_per_trigger=4, renew_after_messages=4)
    model = Model("v1", Predictor(stream.predict))
    context = replace(stream.context, config=config)
    summary = process_until(stream.spark, context, lambda: model, stream.out, threading.Event())
    assert 4 <= summary.answered < 12
    assert summary.lag == 12 - summary.answered
