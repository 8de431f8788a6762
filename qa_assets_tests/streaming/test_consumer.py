"""From the topic to the table and the responses, with the real broker and the real Spark.

What happens when parts are killed is in `qa_assets_tests.chaos`.
"""

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from confluent_kafka import Producer

from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import KafkaUnavailable, client_config, end_offsets
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
        producer.produce(stream.topics.requests, value, key="k")
    producer.flush(10)

    summary = stream.run(max_offsets_per_trigger=10)
    end = end_offsets(stream.kafka, stream.topics.requests)
    assert (summary.answered, summary.abstained, summary.dead_letters.total()) == (21, 2, 3)
    assert (summary.topic_id, summary.end_offsets) == (end.topic_id, end.offsets)
    assert summary.batches == 3
    assert 0 < summary.latency_s["p50"] <= summary.latency_s["p99"] < 120

    rows = stream.table()
    letters = stream.messages(stream.topics.dead_letters)
    headers = [dict(letter.headers()) for letter in letters]
    places = [(row["partition"], row["offset"]) for row in rows]
    places += [(int(of["dead_letter.partition"]), int(of["dead_letter.offset"])) for of in headers]
    assert sorted(places) == [
        (part, n) for part, to in sorted(end.offsets.items()) for n in range(to)
    ]
    assert sorted(letter.value() for letter in letters) == sorted(_BAD)
    assert {of["dead_letter.topic"] for of in headers} == {stream.topics.requests.encode()}
    assert b"question is missing or holds no text" in {of["dead_letter.reason"] for of in headers}

    answers = {row["id"]: row["answer"] for row in rows}
    assert answers["q7"] == "WHAT Q7? SOME TEXT"
    assert [answers[name] for name in ("none1", "none2")] == [None, None]
    assert {row["confidence"] for row in rows} == {0.5}
    assert {row["model_version"] for row in rows} == {"v1"}
    assert {row["topic_id"] for row in rows} == {end.topic_id}
    assert all(row["asked_at"] < row["answered_at"] for row in rows)
    assert dict(rows[0]["metadata"]) == {"n": rows[0]["id"]}

    responses = stream.messages(stream.topics.responses)
    for message in responses:
        jsonschema.validate(json.loads(message.value()), stream.context.schemas.response)
    assert {
        message.key().decode(): json.loads(message.value())["answer"] for message in responses
    } == answers


def test_a_request_that_no_model_is_asked_about_is_an_abstention(stream: Stream) -> None:
    stream.send(["a", "unasked", "none"])
    summary = stream.run()
    assert (summary.answered, summary.abstained) == (1, 2)
    rows = {row["id"]: row for row in stream.table()}
    assert rows["unasked"]["prediction"] is None
    assert (rows["none"]["prediction"]["text"], rows["none"]["confidence"]) == ("", 0.5)
    responses = {row["id"]: (row["answer"], row["confidence"]) for row in stream.responses()}
    assert responses == {
        "a": ("WHAT A? SOME TEXT", 0.5),
        "unasked": (None, None),
        "none": (None, 0.5),
    }


def test_a_run_with_nothing_new_ends_at_once(stream: Stream) -> None:
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
    assert stream.predictions == 1, "the model is not asked again"
    assert stream.table() == before
    responses = [message.value() for message in stream.messages(stream.topics.responses)]
    assert len(responses) == len(set(responses)) == 3


def test_a_batch_in_the_table_that_was_not_sent_is_sent_by_the_next_run(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a crash between the rename and the transaction leaves it, or a broker that is gone."""

    def breaks(*_: object) -> None:
        raise KafkaUnavailable("gone")

    stream.send(["a", "b"])
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "publish", breaks)
        with pytest.raises(KafkaUnavailable):
            stream.run()
    before = stream.table()
    assert len(before) == 2
    assert not stream.messages(stream.topics.responses)
    stream.run()
    assert stream.predictions == 1, "the model is not asked again"
    assert stream.table() == before
    assert len(stream.messages(stream.topics.responses)) == 2


def test_key_and_headers_are_carried_through_in_the_order_of_each_key(stream: Stream) -> None:
    ids = [f"q{n % 4}" for n in range(40)]
    producer = Producer(client_config(stream.kafka))
    for number, name in enumerate(ids):
        value = json.dumps({"id": name, "question": f"what {number}?", "context": "c"})
        headers: list[Any] = [("trace", str(number).encode()), ("none", None)]
        bad = number % 10 == 9
        producer.produce(stream.topics.requests, "bad" if bad else value, key=name, headers=headers)
    producer.flush(10)
    summary = stream.run(max_offsets_per_trigger=7)
    assert summary.duplicates == 36 - 4

    responses = stream.messages(stream.topics.responses)
    letters = stream.messages(stream.topics.dead_letters)
    for message in [*responses, *letters]:
        carried = dict(message.headers())
        assert ids[int(carried["trace"])] == message.key().decode()
        assert carried["none"] is None
    for key in set(ids):
        numbers = [int(dict(m.headers())["trace"]) for m in responses if m.key().decode() == key]
        assert numbers == [n for n, name in enumerate(ids) if name == key and n % 10 != 9]
    firsts = [
        json.loads(message.value())
        for message in responses
        if not json.loads(message.value())["duplicate"]
    ]
    assert sorted(response["id"] for response in firsts) == sorted(set(ids))
    first = {response["id"]: response["offset"] for response in firsts}
    assert all(json.loads(m.value())["offset"] >= first[m.key().decode()] for m in responses)


def test_the_ids_that_were_answered_are_known_again_without_their_database(
    stream: Stream,
) -> None:
    stream.send(["a", "b"])
    topic_id = stream.run().topic_id
    (stream.out / topic_id / "ids.sqlite").unlink()
    stream.send(["b", "c"])
    assert stream.run().duplicates == 1
    assert [row["id"] for row in stream.table() if row["duplicate"]] == ["b"]


def test_a_run_is_bounded_and_the_next_goes_on(stream: Stream) -> None:
    stream.send([f"q{n}" for n in range(50)])
    bounds = {"max_offsets_per_trigger": 10, "max_messages_per_run": 20}
    lags = []
    for _ in range(3):
        lags.append(stream.run(**bounds).lag)
    assert lags[0] >= lags[1] >= lags[2] == 0
    assert 20 <= lags[0] <= 30
    assert len(stream.table()) == len(stream.messages(stream.topics.responses)) == 50


def test_the_error_of_a_model_is_raised_and_nothing_is_lost(stream: Stream) -> None:
    def fails(frame: "DataFrame") -> "DataFrame":
        raise ArithmeticError("no such model")

    def drops(frame: "DataFrame") -> "DataFrame":
        return stream.predict(frame).where("id != 'b'")

    stream.send(["a", "b"])
    with pytest.raises(ArithmeticError, match="no such model"):
        stream.run(fails)
    with pytest.raises(ConsumerError, match="got 2 requests and returned 1"):
        stream.run(drops)
    assert not list((stream.out / "table").rglob("*.parquet"))
    assert stream.run().answered == 2
    assert [row["id"] for row in stream.table()] == sorted(
        ["a", "b"], key=lambda name: next(r["partition"] for r in stream.table() if r["id"] == name)
    )


def test_a_table_without_its_checkpoint_is_not_answered_twice(stream: Stream) -> None:
    stream.send(["a"])
    topic_id = stream.run().topic_id
    (stream.out / topic_id).rename(stream.out / "elsewhere")
    with pytest.raises(ConsumerError, match="checkpoint .* is gone"):
        stream.run()


_HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(120)
"""


def test_a_second_consumer_is_refused_at_once_and_a_killed_one_is_not_in_the_way(
    stream: Stream,
) -> None:
    stream.send(["a"])
    topic_id = end_offsets(stream.kafka, stream.topics.requests).topic_id
    lock = StreamDirectory(stream.out, topic_id, stream.context).state / "lock"
    lock.parent.mkdir(parents=True)
    command = [sys.executable, "-c", _HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        started = time.monotonic()
        with pytest.raises(ConsumerError, match="another process answers into"):
            stream.run()
        assert time.monotonic() - started < 5
        holder.kill()
    assert stream.run().answered == 1
