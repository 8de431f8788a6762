"""Producers' transactions on the topic of requests, and the gaps that compaction leaves.

Every count is of what a consumer can read, and each run ends with a lag of 0.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import TopicOffsets, client_config, end_offsets, ensure_topics
from qa_assets.streaming.transactions import (
    OpenTransaction,
    duration_text,
    first_written,
    holds_messages,
    open_transaction,
)
from qa_assets_tests.streaming.readers import read_committed
from qa_assets_tests.streaming.stream import Stream, stream_context
from qa_assets_tests.waiting import wait_for

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SET = AlterConfigOpType.SET


def begin_transaction(
    kafka: KafkaConfig, topic: str, ids: list[str], written: float = 0, timeout_ms: int = 60_000
) -> Producer:
    """Begin a transaction with a request for each id on partition 0, and leave it open.

    `written` is the messages' timestamp, seconds since the epoch; by default the time it is.
    """
    transaction = {"transactional.id": f"{topic}-{ids[0]}", "transaction.timeout.ms": timeout_ms}
    producer = Producer(client_config(kafka) | transaction)
    producer.init_transactions(10)
    producer.begin_transaction()
    for name in ids:
        value = json.dumps({"id": name, "question": "Who led?", "context": "Rollo led."})
        producer.produce(topic, value, key=name, partition=0, timestamp=int(written * 1000))
    assert producer.flush(10) == 0
    return producer


def offsets(stream: Stream) -> TopicOffsets:
    return end_offsets(stream.kafka, stream.topics.requests)


def stable(stream: Stream) -> bool:
    return not offsets(stream).unstable


def test_an_open_transaction_is_waited_for_and_said(stream: Stream) -> None:
    stream.send_raw([b"{}"])
    written = time.time() - 600
    producer = begin_transaction(stream.kafka, stream.topics.requests, ["a", "b"], written)
    stream.send_raw([b"{}"])  # comes behind it, and waits with it
    topic = offsets(stream)
    assert (topic.offsets[0], topic.high_watermarks[0], topic.unstable) == (1, 4, {0: 3})
    waits = open_transaction(stream.context, topic, timeout_s=5)
    assert waits is not None
    assert waits.since == pytest.approx(written, abs=0.001)
    assert str(waits) == "3 records wait for a producer's open transaction, the first for 10 min"
    for messages in (1, 0):  # then nothing new
        summary = stream.run()
        assert (summary.messages, summary.lag, summary.end_offsets[0]) == (messages, 0, 1)
        assert summary.open_transaction == waits
    producer.commit_transaction(10)
    wait_for(lambda: stable(stream))
    summary = stream.run()
    assert (summary.answered, summary.messages, summary.lag) == (2, 3, 0)
    assert summary.open_transaction is None
    assert summary.end_offsets == offsets(stream).offsets
    assert sorted(row["id"] for row in stream.table()) == ["a", "b"]


@pytest.mark.parametrize("end", ["committed", "aborted", "timed-out"])
def test_an_ended_transaction_leaves_nothing_that_waits(
    spark: "SparkSession", kafka_broker: KafkaConfig, tmp_path: Path, end: str
) -> None:
    """Neither its records that nobody reads, nor the marker that ends the topic."""
    stream = Stream(spark, stream_context(kafka_broker, end), tmp_path)
    ensure_topics(stream.kafka, [stream.topics.requests])
    limit = 1_000 if end == "timed-out" else 60_000
    producer = begin_transaction(stream.kafka, stream.topics.requests, ["a"], timeout_ms=limit)
    if end == "committed":
        producer.commit_transaction(10)
    elif end == "aborted":
        producer.abort_transaction(10)
    wait_for(lambda: stable(stream))
    topic = offsets(stream)
    assert topic.offsets[0] == 2  # the message and the marker
    assert open_transaction(stream.context, topic, timeout_s=5) is None
    readable = end == "committed"
    assert holds_messages(stream.context, {0: 0, 1: 0}, timeout_s=5) is readable
    assert not holds_messages(stream.context, {0: 1}, timeout_s=5)
    summary = stream.run()
    assert (summary.answered, summary.lag, summary.lost) == (int(readable), 0, 0)
    assert summary.end_offsets == topic.offsets
    stream.send_raw([b"{}"])
    assert stream.run().messages == 1


def test_transactions_among_messages_and_deleted_records(stream: Stream) -> None:
    """Messages around committed and aborted ones are answered once; what is deleted is counted."""
    topic = stream.topics.requests
    begin_transaction(stream.kafka, topic, ["lost"]).commit_transaction(10)
    stream.send_raw([b"{}"])
    begin_transaction(stream.kafka, topic, ["aborted"]).abort_transaction(10)
    begin_transaction(stream.kafka, topic, ["kept"]).commit_transaction(10)
    wait_for(lambda: stable(stream))
    admin = AdminClient(client_config(stream.kafka))
    for deleted in admin.delete_records([TopicPartition(topic, 0, 2)]).values():
        deleted.result(10)
    summary = stream.run()
    # never read before, so nothing is lost to this consumer; offsets: 2, aborted and its marker,
    # kept and its marker
    assert (summary.messages, summary.answered, summary.lost, summary.lag) == (2, 1, 0, 0)
    assert summary.end_offsets[0] == 7
    begin_transaction(stream.kafka, topic, ["gone"]).commit_transaction(10)
    wait_for(lambda: stable(stream))
    for deleted in admin.delete_records([TopicPartition(topic, 0, 9)]).values():
        deleted.result(10)
    stream.send_raw([b"{}"])
    summary = stream.run(on_data_loss="continue")
    assert (summary.messages, summary.lost, summary.lag) == (1, 2, 0)


def test_gaps_of_a_compacted_topic_are_no_messages_and_no_loss(stream: Stream) -> None:
    admin, topic = AdminClient(client_config(stream.kafka)), f"{stream.topics.requests}-compacted"
    often = ConfigEntry("log.cleaner.backoff.ms", "50", incremental_operation=SET)
    cleaner = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[often])
    admin.incremental_alter_configs([cleaner])[cleaner].result(10)
    rolled = {"cleanup.policy": "compact", "segment.ms": "1", "min.cleanable.dirty.ratio": "0"}
    admin.create_topics([NewTopic(topic, 1, config=rolled)])[topic].result(10)
    topics = stream.topics.model_copy(update={"requests": topic})
    compacted = Stream(stream.spark, replace(stream.context, topics=topics), stream.out)

    def ask(*ids: str) -> None:
        for name in ids:  # a segment each
            compacted.send([name])
            time.sleep(0.01)

    def first_kept() -> int:
        first: int = read_committed(stream.kafka, topic)[0].offset()
        return first

    ask("a", "b", "a", "b", "c")
    wait_for(lambda: first_kept() == 2)
    summary = compacted.run()
    assert (summary.answered, summary.lag, summary.lost) == (3, 0, 0)
    assert summary.end_offsets == {0: 5}
    ask("d", "d", "d", "e")
    wait_for(lambda: 5 not in {message.offset() for message in read_committed(stream.kafka, topic)})
    assert holds_messages(compacted.context, {0: 5}, timeout_s=5)
    assert compacted.run().lag == 0
    assert compacted.run().batches == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (40, "40 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (90000, "25 h")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_what_is_not_known_is_not_said() -> None:
    waits = OpenTransaction(1, None)
    assert str(waits) == "1 record waits for a producer's open transaction"


def test_a_broker_that_is_gone_costs_no_more_than_the_time_given(stream: Stream) -> None:
    gone = stream.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    context = type(stream.context)(gone, stream.topics, stream.context.config, stream.context.task)
    started = time.monotonic()
    assert first_written(context, {0: 0}, timeout_s=0.3) is None
    assert holds_messages(context, {0: 0}, timeout_s=0.3)  # not known: a run will see
    assert time.monotonic() - started < 2
