"""From the topic to the table and the answers, with the real broker and the real Spark.

The model is an expression of Spark's, since what is tested is what surrounds it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pyarrow.dataset as ds
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from qa_assets.settings import KafkaSettings, StreamSettings
from qa_assets.streaming.batches import ConsumerError
from qa_assets.streaming.consumer import StreamSummary, answer_available
from qa_assets.streaming.kafka import client_config, end_offsets, ensure_topics
from qa_assets.streaming.messages import ANSWER_SCHEMA
from qa_assets.streaming.producer import produce_questions

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_BAD = [b"not json", b'{"id": "x", "question": " ", "context": "c"}', b"\xff"]


class _Stream:
    """A stream of its own: topics, output directory, and how often its model was asked."""

    def __init__(self, spark: "SparkSession", kafka: KafkaSettings, out: Path) -> None:
        self.spark, self.kafka, self.out = spark, kafka, out
        self.asked = 0

    def send(self, ids: list[str]) -> None:
        questions = [
            {"id": one, "question": f"what {one}?", "context": "some text", "metadata": {"n": one}}
            for one in ids
        ]
        produce_questions(self.kafka, questions)

    def answer(self, frame: "DataFrame") -> "DataFrame":
        from pyspark.sql import functions as sf

        self.asked += 1
        none = sf.col("id").startswith("none")
        said = sf.when(none, " unavailable").otherwise(sf.upper("source"))
        return frame.withColumn("answer", sf.when(sf.col("id") == "empty", "").otherwise(said))

    def run(self, answer: Any = None, batch: int = 100) -> StreamSummary:
        return answer_available(
            self.spark, self.kafka, StreamSettings(max_offsets_per_trigger=batch),
            answer or self.answer, _source, "unavailable", "v1", self.out,
        )  # fmt: skip

    def table(self) -> list[dict[str, Any]]:
        table = ds.dataset(self.out / "table", partitioning="hive").to_table()
        rows: list[dict[str, Any]] = table.to_pylist()
        return sorted(rows, key=lambda row: (row["partition"], row["offset"]))

    def messages(self, topic: str) -> list[Any]:
        """All messages on a topic."""
        consumer = Consumer(client_config(self.kafka) | {"group.id": "tests"})
        ends = end_offsets(self.kafka, topic)
        consumer.assign([TopicPartition(topic, part, 0) for part in ends.offsets])
        found = consumer.consume(ends.total, timeout=10) if ends.total else []
        consumer.close()
        assert len(found) == ends.total
        return found


def _source(question: "Column", context: "Column") -> "Column":
    from pyspark.sql import functions as sf

    return sf.concat_ws(" ", sf.lit("question:"), question, sf.lit("context:"), context)


@pytest.fixture
def stream(
    spark: "SparkSession", kafka_broker: KafkaSettings, tmp_path: Path, request: Any
) -> Iterator[_Stream]:
    name = request.node.name[:40]
    topics = {
        "questions_topic": f"{name}.questions",
        "answers_topic": f"{name}.answers",
        "dead_letter_topic": f"{name}.dead",
    }
    kafka = kafka_broker.model_copy(update=topics)
    ensure_topics(kafka, [kafka.questions_topic])
    yield _Stream(spark, kafka, tmp_path / "a path with spaces")


def test_each_message_is_answered_or_a_dead_letter_once(stream: _Stream) -> None:
    stream.send([*(f"q{n}" for n in range(20)), "none1", "none2", "empty"])
    producer = Producer(client_config(stream.kafka))
    for value in _BAD:
        producer.produce(stream.kafka.questions_topic, value, key="k")
    producer.flush(10)

    summary = stream.run(batch=10)
    end = end_offsets(stream.kafka, stream.kafka.questions_topic)
    assert (summary.answered, summary.abstained, summary.dead_letters) == (20, 3, 3)
    assert (summary.topic_id, summary.end_offsets) == (end.topic_id, end.offsets)
    assert summary.batches == 3
    assert 0 < summary.latency_s["p50"] <= summary.latency_s["p99"] < 120

    rows = stream.table()
    letters = stream.messages(stream.kafka.dead_letter_topic)
    headers = [dict(letter.headers()) for letter in letters]
    seen = [(row["partition"], row["offset"]) for row in rows]
    seen += [(int(of["partition"]), int(of["offset"])) for of in headers]
    assert sorted(seen) == [
        (part, n) for part, to in sorted(end.offsets.items()) for n in range(to)
    ]
    assert sorted(letter.value() for letter in letters) == sorted(_BAD)
    assert {of["topic"] for of in headers} == {stream.kafka.questions_topic.encode()}
    assert b"question is missing or blank" in {of["reason"] for of in headers}

    answers = {row["id"]: row["answer"] for row in rows}
    assert answers["q7"] == "QUESTION: WHAT Q7? CONTEXT: SOME TEXT"
    assert [answers[one] for one in ("none1", "none2", "empty")] == [None, None, None]
    assert {row["model_version"] for row in rows} == {"v1"}
    assert {row["topic_id"] for row in rows} == {end.topic_id}
    assert all(row["asked_at"] < row["answered_at"] for row in rows)
    assert dict(rows[0]["metadata"]) == {"n": rows[0]["id"]}

    told = stream.messages(stream.kafka.answers_topic)
    for message in told:
        jsonschema.validate(json.loads(message.value()), ANSWER_SCHEMA)
    assert {message.key().decode(): json.loads(message.value())["answer"] for message in told} == (
        answers
    )


def test_nothing_new_is_told_at_once(stream: _Stream) -> None:
    stream.send(["a"])
    first = stream.run()
    second = stream.run()
    assert (second.answered, second.batches, second.latency_s) == (0, 0, {})
    assert second.end_offsets == first.end_offsets
    assert second.duration_s < 2
    stream.send(["b"])
    assert stream.run().answered == 1
    assert [row["id"] for row in stream.table()].count("a") == 1


def test_an_empty_topic_has_nothing_to_answer(stream: _Stream) -> None:
    summary = stream.run()
    assert (summary.answered, summary.dead_letters) == (0, 0)
    assert summary.end_offsets == {0: 0, 1: 0}


def test_a_batch_repeated_after_a_crash_changes_nothing(stream: _Stream) -> None:
    stream.send(["a", "b", "none"])
    stream.run()
    before = stream.table()
    # as a crash leaves it between the table's write and Spark's commit of the batch
    checkpoint = stream.out / before[0]["topic_id"] / "checkpoint"
    for commit in (checkpoint / "commits").iterdir():
        commit.unlink()
    again = stream.run()
    assert (again.answered, again.abstained, again.batches) == (2, 1, 1)
    assert stream.asked == 1, "the model is not asked again"
    assert stream.table() == before
    told = [message.value() for message in stream.messages(stream.kafka.answers_topic)]
    assert len(told) == 6
    assert len(set(told)) == 3, "sent at least once, and the same each time"


def test_a_model_that_fails_is_heard_and_nothing_is_lost(stream: _Stream) -> None:
    def fails(frame: "DataFrame") -> "DataFrame":
        raise ArithmeticError("no such model")

    def drops(frame: "DataFrame") -> "DataFrame":
        return stream.answer(frame).where("id != 'b'")

    stream.send(["a", "b"])
    with pytest.raises(ArithmeticError, match="no such model"):
        stream.run(fails)
    with pytest.raises(ConsumerError, match="asked 2 questions and gave 1"):
        stream.run(drops)
    assert not list((stream.out / "table").rglob("*.parquet"))
    assert stream.run().answered == 2
    assert [row["id"] for row in stream.table()] == sorted(
        ["a", "b"], key=lambda one: next(r["partition"] for r in stream.table() if r["id"] == one)
    )


def test_questions_deleted_before_they_were_answered_are_said(stream: _Stream) -> None:
    stream.send(["a"])
    stream.run()
    stream.send([f"lost{n}" for n in range(10)])
    end = end_offsets(stream.kafka, stream.kafka.questions_topic)
    admin = AdminClient(client_config(stream.kafka))
    gone = [TopicPartition(stream.kafka.questions_topic, *place) for place in end.offsets.items()]
    for deleted in admin.delete_records(gone).values():
        deleted.result(10)
    stream.send(["later1", "later2", "later3"])
    with pytest.raises(ConsumerError, match=r"gone from the broker.*move"):
        stream.run()


def test_a_table_without_its_checkpoint_is_not_answered_twice(stream: _Stream) -> None:
    stream.send(["a"])
    topic_id = stream.run().topic_id
    (stream.out / topic_id).rename(stream.out / "elsewhere")
    with pytest.raises(ConsumerError, match="checkpoint .* is gone"):
        stream.run()
