"""Sends requests to their topic."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from qa_assets.streaming.kafka import PRODUCER, KafkaUnavailable, client_config, ensure_topics

if TYPE_CHECKING:
    from qa_assets.streaming.config import StreamContext

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


def produce_requests(
    context: "StreamContext", requests: Iterable[Mapping[str, Any]]
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
    messages = list(requests)
    values = [context.schemas.request_bytes(message) for message in messages]
    ensure_topics(kafka, [topic])
    producer = Producer(
        client_config(kafka)
        | PRODUCER
        | {"enable.idempotence": True, "delivery.timeout.ms": int(_DELIVERY_S * 1e3)}
    )
    sent: dict[int, SentRequest] = {}
    failures: list[str] = []

    def delivered(number: int, key: str, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            failures.append(f"{key}: {error}")
        else:
            sent[number] = SentRequest(key, partition, offset, message.timestamp()[1])

    for number, (message, value) in enumerate(zip(messages, values, strict=True)):
        key = str(message["id"])
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=partial(delivered, number, key))
                break
            except BufferError:  # the client's queue is full
                producer.poll(0.5)
            except KafkaException as error:  # such as a message that is too large
                failures.append(f"{key}: {error}")
                break
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
