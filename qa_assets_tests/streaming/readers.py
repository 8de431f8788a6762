"""Reading a topic as any reader of a transactional one should."""

import time

from confluent_kafka import Consumer, Message, TopicPartition

from qa_assets.streaming.config import KafkaSettings
from qa_assets.streaming.kafka import client_config, end_offsets


def read_committed(kafka: KafkaSettings, topic: str, timeout_s: float = 30) -> list[Message]:
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
    left = end_offsets(kafka, topic)
    waiting = {part for part, end in left.offsets.items() if end > left.begin[part]}
    consumer.assign([TopicPartition(topic, part, left.begin[part]) for part in waiting])
    found: list[Message] = []
    deadline = time.monotonic() + timeout_s
    while waiting:
        assert time.monotonic() < deadline, f"{topic}: {waiting} did not end"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            found.append(message)
        else:  # the end of the partition
            waiting.discard(message.partition())
    consumer.close()
    return sorted(found, key=lambda one: (one.partition(), one.offset()))
