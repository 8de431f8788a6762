"""Reading a topic as any reader of a transactional topic should."""

import time

from confluent_kafka import Consumer, Message, TopicPartition

from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import client_config, end_offsets


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
    ends = end_offsets(kafka, topic)
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
