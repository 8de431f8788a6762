"""Reading a topic as any reader of a transactional topic should."""

import time

from confluent_kafka import Consumer, Message, TopicPartition

from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import client_config, end_offsets

_COMMIT_S = 5.0


def read_committed(kafka: KafkaConfig, topic: str, timeout_s: float = 30) -> list[Message]:
    """All committed messages of a topic, by partition and offset."""
    consumer = Consumer(
        client_config(kafka)
        | {
            "group.id": "tests",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    deadline = time.monotonic() + _COMMIT_S
    # a commit returns before the topic's partitions have their markers of it
    while (ends := end_offsets(kafka, topic)).unstable and time.monotonic() < deadline:
        time.sleep(0.05)
    unread = {part for part, end in ends.offsets.items() if end > ends.begin[part]}
    consumer.assign([TopicPartition(topic, part, ends.begin[part]) for part in unread])
    messages: list[Message] = []
    deadline = time.monotonic() + timeout_s
    while unread:
        assert time.monotonic() < deadline, f"{topic}: {unread} did not end"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            messages.append(message)
        else:  # the end of the partition
            unread.discard(message.partition())
    consumer.close()
    return sorted(messages, key=lambda message: (message.partition(), message.offset()))
