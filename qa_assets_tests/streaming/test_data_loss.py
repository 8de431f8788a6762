"""Topics that change under the consumer: the error names what is lost, or it is recorded."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from qa_assets.local.broker import broker, free_port
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.data_loss import DataLossError
from qa_assets.streaming.kafka import TopicMissing, client_config, end_offsets, ensure_topics
from qa_assets_tests.streaming.stream import Stream, stream_context

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def _expire(stream: Stream) -> None:
    """Delete all that is on the topic, as its retention would."""
    topic = stream.topics.requests
    admin = AdminClient(client_config(stream.kafka))
    places = [TopicPartition(topic, *at) for at in end_offsets(stream.kafka, topic).offsets.items()]
    for deleted in admin.delete_records(places).values():
        deleted.result(10)


def test_expired_requests_stop_the_run_or_are_recorded(stream: Stream) -> None:
    stream.send(["a"])
    topic_id = stream.run().topic_id
    before = end_offsets(stream.kafka, stream.topics.requests).total
    stream.send([f"lost{n}" for n in range(10)])
    _expire(stream)
    stream.send(["later1", "later2", "later3"])
    with pytest.raises(
        DataLossError,
        match=r"gone from the broker .*partition [01] \(offsets .*`stream.on_data_loss: continue`",
    ):
        stream.run()
    assert len(stream.table()) == before
    summary = stream.run(on_data_loss="continue")
    assert (summary.lost, summary.answered, summary.lag) == (10, 3, 0)
    (record,) = (stream.out / topic_id / "lost").iterdir()
    ranges = json.loads(record.read_text()).values()
    assert sum(last - first for first, last in ranges) == 10
    assert sorted(row["id"] for row in stream.table()) == ["a", "later1", "later2", "later3"]
    assert stream.run().lost == 0


def test_partitions_that_are_added_are_answered_from_their_beginning(stream: Stream) -> None:
    stream.send([f"a{n}" for n in range(5)])
    stream.run()
    admin = AdminClient(client_config(stream.kafka))
    topic = stream.topics.requests
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(10)
    values = [f'{{"id": "{at}", "question": "q", "context": "c"}}'.encode() for at in range(4)]
    for partition, value in enumerate(values):
        stream.send_raw([value], partition)
    summary = stream.run()
    assert (summary.answered, summary.lost, summary.lag) == (4, 0, 0)
    assert sorted(summary.end_offsets) == [0, 1, 2, 3]
    assert len(stream.responses()) == len(stream.table()) == 9


def test_a_topic_created_again_is_another_stream(
    stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    stream.send(["a", "b"])
    first = stream.run()
    topic = stream.topics.requests
    admin = AdminClient(client_config(stream.kafka))
    admin.delete_topics([topic])[topic].result(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            end_offsets(stream.kafka, topic)
        except TopicMissing:
            break
    ensure_topics(stream.kafka, [topic])
    stream.send(["b", "c", "d"])
    second = stream.run()
    assert second.topic_id != first.topic_id
    assert (second.answered, second.duplicates) == (3, 0)
    assert second.earlier_topics == (first.topic_id,)
    assert "was created again" in caplog.text
    assert sorted(row["id"] for row in stream.table()) == ["a", "b", "b", "c", "d"]
    assert len(stream.responses()) == 5
    stream.send(["e"])
    assert stream.run().earlier_topics == ()


def test_a_topic_that_lost_its_end_is_not_answered_on(
    spark: "SparkSession", jars_dir: Path, tmp_path: Path
) -> None:
    """Else what comes under the offsets of the lost ones would be taken for answered."""
    kafka = KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_port()}", partitions=1)
    stream, home = Stream(spark, stream_context(kafka), tmp_path / "answers"), tmp_path / "broker"
    with broker(home, kafka.bootstrap_servers, jars_dir):
        stream.send(["a", "b"])
        stream.send(["c"])
        assert stream.run().answered == 3
    segment = home / "log" / f"{stream.topics.requests}-0" / f"{0:020}.log"
    os.truncate(segment, segment.stat().st_size - 10)  # as a disk may after a power cut
    (home / "log" / ".kafka_cleanshutdown").unlink()
    with broker(home, kafka.bootstrap_servers, jars_dir):
        assert end_offsets(kafka, stream.topics.requests).total == 2
        with pytest.raises(DataLossError, match="ends before .*: 0, 3, 2"):
            stream.run()
