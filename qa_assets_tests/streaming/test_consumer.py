"""From the topic to the table and the answers, with the real broker and the real Spark.

What happens when parts are killed is in `qa_assets_tests.chaos`.
"""

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from confluent_kafka import Producer

from qa_assets.streaming.kafka import (
    KafkaUnavailable,
    client_config,
    end_offsets,
)
from qa_assets.streaming.messages import ANSWER_SCHEMA
from qa_assets.streaming.micro_batch import ConsumerError
from qa_assets.streaming.publisher import Publisher
from qa_assets_tests.streaming.stream import Stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_BAD = [b"not json", b'{"id": "x", "question": " ", "context": "c"}', b"\xff"]


def test_each_message_is_answered_or_a_dead_letter_once(stream: Stream) -> None:
    stream.send([*(f"q{n}" for n in range(21)), "none1", "none2"])
    producer = Producer(client_config(stream.kafka))
    for value in _BAD:
        producer.produce(stream.kafka.questions_topic, value, key="k")
    producer.flush(10)

    summary = stream.run(max_offsets_per_trigger=10)
    end = end_offsets(stream.kafka, stream.kafka.questions_topic)
    assert (summary.answered, summary.abstained, summary.dead_letters.total()) == (21, 2, 3)
    assert (summary.topic_id, summary.end_offsets) == (end.topic_id, end.offsets)
    assert summary.batches == 3
    assert 0 < summary.latency_s["p50"] <= summary.latency_s["p99"] < 120

    rows = stream.table()
    letters = stream.messages(stream.kafka.dead_letter_topic)
    headers = [dict(letter.headers()) for letter in letters]
    seen = [(row["partition"], row["offset"]) for row in rows]
    seen += [(int(of["dead_letter.partition"]), int(of["dead_letter.offset"])) for of in headers]
    assert sorted(seen) == [
        (part, n) for part, to in sorted(end.offsets.items()) for n in range(to)
    ]
    assert sorted(letter.value() for letter in letters) == sorted(_BAD)
    assert {of["dead_letter.topic"] for of in headers} == {stream.kafka.questions_topic.encode()}
    assert b"question is missing or holds no text" in {of["dead_letter.reason"] for of in headers}

    answers = {row["id"]: row["answer"] for row in rows}
    assert answers["q7"] == "WHAT Q7? SOME TEXT"
    assert [answers[one] for one in ("none1", "none2")] == [None, None]
    assert {row["confidence"] for row in rows} == {0.5}
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


def test_nothing_new_is_told_at_once(stream: Stream) -> None:
    stream.send(["a"])
    first = stream.run()
    second = stream.run()
    assert (second.answered, second.batches, second.latency_s) == (0, 0, {})
    assert second.end_offsets == first.end_offsets
    assert second.duration_s < 2
    stream.send(["b"])
    assert stream.run().answered == 1
    assert [row["id"] for row in stream.table()].count("a") == 1


def test_an_empty_topic_has_nothing_to_answer(stream: Stream) -> None:
    summary = stream.run()
    assert (summary.answered, summary.dead_letters.total()) == (0, 0)
    assert summary.end_offsets == {0: 0, 1: 0}


def test_a_batch_repeated_after_a_crash_changes_nothing(stream: Stream) -> None:
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
    assert len(told) == len(set(told)) == 3


def test_a_batch_in_the_table_that_was_not_sent_is_sent_by_the_next_run(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a crash between the rename and the transaction leaves it, or a broker that is gone."""

    def breaks(*_: object) -> None:
        raise KafkaUnavailable("gone")

    stream.send(["a", "b"])
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "send", breaks)
        with pytest.raises(KafkaUnavailable):
            stream.run()
    before = stream.table()
    assert len(before) == 2
    assert not stream.messages(stream.kafka.answers_topic)
    stream.run()
    assert stream.asked == 1, "the model is not asked again"
    assert stream.table() == before
    assert len(stream.messages(stream.kafka.answers_topic)) == 2


def test_key_and_headers_are_carried_through_in_the_order_of_each_key(stream: Stream) -> None:
    ids = [f"q{n % 4}" for n in range(40)]
    producer = Producer(client_config(stream.kafka))
    for number, one in enumerate(ids):
        value = json.dumps({"id": one, "question": f"what {number}?", "context": "c"})
        headers: list[Any] = [("trace", str(number).encode()), ("none", None)]
        bad = number % 10 == 9
        producer.produce(
            stream.kafka.questions_topic, "bad" if bad else value, key=one, headers=headers
        )
    producer.flush(10)
    summary = stream.run(max_offsets_per_trigger=7)
    assert summary.duplicates == 36 - 4

    told = stream.messages(stream.kafka.answers_topic)
    letters = stream.messages(stream.kafka.dead_letter_topic)
    for message in [*told, *letters]:
        carried = dict(message.headers())
        assert ids[int(carried["trace"])] == message.key().decode()
        assert carried["none"] is None
    for key in set(ids):
        numbers = [int(dict(m.headers())["trace"]) for m in told if m.key().decode() == key]
        assert numbers == [n for n, one in enumerate(ids) if one == key and n % 10 != 9]
    firsts = [
        json.loads(message.value())
        for message in told
        if not json.loads(message.value())["duplicate"]
    ]
    assert [one["id"] for one in sorted(firsts, key=lambda one: one["id"])] == sorted(set(ids))
    first = {one["id"]: one["offset"] for one in firsts}
    assert all(json.loads(m.value())["offset"] >= first[m.key().decode()] for m in told)


def test_the_ids_that_were_answered_are_known_again_without_their_database(
    stream: Stream,
) -> None:
    stream.send(["a", "b"])
    topic_id = stream.run().topic_id
    (stream.out / topic_id / "seen.sqlite").unlink()
    stream.send(["b", "c"])
    assert stream.run().duplicates == 1
    assert [row["id"] for row in stream.table() if row["duplicate"]] == ["b"]


def test_a_run_is_bounded_and_the_next_goes_on(stream: Stream) -> None:
    stream.send([f"q{n}" for n in range(50)])
    bounds = {"max_offsets_per_trigger": 10, "max_questions_per_run": 20}
    lags = []
    for _ in range(3):
        lags.append(stream.run(**bounds).lag)
    assert lags[0] >= lags[1] >= lags[2] == 0
    assert 20 <= lags[0] <= 30
    assert len(stream.table()) == len(stream.messages(stream.kafka.answers_topic)) == 50


def test_a_model_that_fails_is_heard_and_nothing_is_lost(stream: Stream) -> None:
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


def test_a_table_without_its_checkpoint_is_not_answered_twice(stream: Stream) -> None:
    stream.send(["a"])
    topic_id = stream.run().topic_id
    (stream.out / topic_id).rename(stream.out / "elsewhere")
    with pytest.raises(ConsumerError, match="checkpoint .* is gone"):
        stream.run()
