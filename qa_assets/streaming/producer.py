"""Sends requests to their topic; what all producers share."""

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.kafka import KafkaUnavailable, client_config, ensure_topics

PRODUCER = {"partitioner": "murmur2_random", "linger.ms": 5}
"""Settings of all producers; keys go to the same partitions as with Java's clients."""
_DELIVERY_S = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentRequest:
    """A request that the broker has."""

    id: str
    partition: int
    offset: int
    sent_at: int
    """The message's timestamp: milliseconds since the epoch."""


def produce(producer: Producer, deadline: float = math.inf, **message: Any) -> None:
    """`Producer.produce`, but wait while the client's queue is full; BufferError at `deadline`."""
    while True:
        try:
            producer.produce(**message)
            return
        except BufferError:
            if time.monotonic() > deadline:
                raise
            producer.poll(0.5)


def produce_requests(
    context: StreamContext, requests: Iterable[Mapping[str, Any]]
) -> list[SentRequest]:
    """Send requests, keyed by id, each exactly once to the partition of its key.

    All are checked before the first is sent. The topic is created if it is missing.

    Returns:
        What was delivered, in the order of the requests.

    Raises:
        MessageError: a request does not follow the schema; none was sent.
        KafkaUnavailable: the broker does not answer, or did not take all of them; says how many.
    """
    kafka, topic = context.kafka, context.topics.requests
    messages = [(context.schemas.request_bytes(item), str(item["id"])) for item in requests]
    ensure_topics(kafka, [topic])
    once = {"enable.idempotence": True, "delivery.timeout.ms": int(_DELIVERY_S * 1e3)}
    producer = Producer(client_config(kafka) | PRODUCER | once)
    sent: dict[int, SentRequest] = {}
    failures: list[str] = []

    def delivered(number: int, key: str, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failures.append(f"{key}: {error}")
        else:
            _, sent_at = message.timestamp()
            sent[number] = SentRequest(key, message.partition(), message.offset(), sent_at)

    for number, (value, key) in enumerate(messages):
        on_delivery = partial(delivered, number, key)
        try:
            produce(producer, topic=topic, value=value, key=key, on_delivery=on_delivery)
        except KafkaException as error:  # such as a message that is too large
            failures.append(f"{key}: {error}")
        producer.poll(0)
    deadline = time.monotonic() + _DELIVERY_S + 5
    while producer.flush(1.0) and time.monotonic() < deadline:
        logger.info("%d of %d requests delivered", len(sent), len(messages))
    if len(sent) < len(messages):
        raise KafkaUnavailable(
            f"only {len(sent)} of {len(messages)} requests were delivered to {topic!r} on "
            f"{kafka.bootstrap_servers}: {failures[0] if failures else 'no reason was reported'}"
        )
    return [sent[number] for number in range(len(messages))]
