"""Kafka clients never hang, and errors name what is wrong."""

import time

import pytest
from confluent_kafka import Uuid
from confluent_kafka.admin import AdminClient

from qa_assets.local.broker import free_port
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import (
    KafkaUnavailable,
    TopicMissing,
    client_config,
    end_offsets,
    ensure_topics,
    topic_id_text,
)
from qa_assets.streaming.messages import MessageError
from qa_assets.streaming.producer import produce_requests
from qa_assets_tests.streaming.stream import stream_context


def test_an_absent_broker_is_named_in_time() -> None:
    kafka = KafkaConfig(bootstrap_servers=f"127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(KafkaUnavailable, match="QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"):
        end_offsets(kafka, "questions", timeout_s=1)
    assert time.monotonic() - started < 3


def test_a_missing_topic_is_another_error(kafka_broker: KafkaConfig) -> None:
    with pytest.raises(TopicMissing, match="nowhere"):
        end_offsets(kafka_broker, "nowhere")
    with pytest.raises(TopicMissing):  # asking has not made it
        end_offsets(kafka_broker, "nowhere")


def test_a_topic_id_can_name_a_directory() -> None:
    assert str(Uuid(-1, -2)) == "/////////////////////g"
    assert topic_id_text(Uuid(-1, -2)) == "_____________________g"
    assert topic_id_text(Uuid(0xFBEFBEFBEFBEFBEF - 2**64, 0)).startswith("-" * 10)


def test_requests_lie_where_the_producer_says_and_keys_keep_their_partition(
    kafka_broker: KafkaConfig,
) -> None:
    context = stream_context(kafka_broker, "sent")
    requests = [{"id": str(n % 5), "question": "q?", "context": "c"} for n in range(20)]
    sent = produce_requests(context, requests)
    assert [row.id for row in sent] == [request["id"] for request in requests]
    assert len({(row.partition, row.offset) for row in sent}) == 20
    assert len({(row.id, row.partition) for row in sent}) == 5
    assert all(abs(row.sent_at / 1000 - time.time()) < 60 for row in sent)
    end = end_offsets(kafka_broker, "sent.questions")
    assert end.total == 20
    assert end.begin == {0: 0, 1: 0}


def test_nothing_is_sent_where_a_request_is_bad(kafka_broker: KafkaConfig) -> None:
    context = stream_context(kafka_broker, "unsent")
    good = {"id": "1", "question": "q?", "context": "c"}
    with pytest.raises(MessageError, match="context"):
        produce_requests(context, [good, good | {"context": ""}])
    with pytest.raises(TopicMissing):
        end_offsets(kafka_broker, "unsent.questions")


def test_a_new_topic_can_be_counted_at_once(kafka_broker: KafkaConfig) -> None:
    for number in range(20):
        ensure_topics(kafka_broker, [f"new{number}"])
        assert end_offsets(kafka_broker, f"new{number}").total == 0


def test_a_topic_created_again_has_another_id(kafka_broker: KafkaConfig) -> None:
    ensure_topics(kafka_broker, ["again"])
    before = end_offsets(kafka_broker, "again")
    ensure_topics(kafka_broker, ["again"])
    assert end_offsets(kafka_broker, "again") == before
    admin = AdminClient(client_config(kafka_broker))
    admin.delete_topics(["again"])["again"].result(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            end_offsets(kafka_broker, "again")
        except TopicMissing:
            break
    ensure_topics(kafka_broker, ["again"])
    assert end_offsets(kafka_broker, "again").topic_id != before.topic_id
