"""Kafka clients that never hang: their configuration, topics and offsets."""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.security import librdkafka_options

logger = logging.getLogger(__name__)

_silent = logging.getLogger(f"{__name__}.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # errors are raised; librdkafka would repeat them for ever

# of a topic that was just created, or of a broker that has just started
_TRANSIENT = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
)
_LOGIN = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001  librdkafka's own codes
_POLL_S = 0.25
_CREATE_S = 15


class KafkaUnavailable(RuntimeError):  # noqa: N818
    """The broker does not answer in time, or refuses the login."""


class TopicMissing(LookupError):  # noqa: N818
    """The topic does not exist (yet)."""


@dataclass(frozen=True)
class TopicOffsets:
    """The offsets of a topic. When it is deleted and created again, its `topic_id` is another."""

    topic_id: str
    offsets: dict[int, int]
    """Partition to its last stable offset: a consumer in `read_committed` reads what is before."""
    begin: dict[int, int]
    """Partition to the offset of the first message that it still holds."""
    high_watermarks: dict[int, int] = field(default_factory=dict)
    """Partition to the offset behind its last record, be that one's transaction ended or not."""

    @property
    def total(self) -> int:
        """Messages that were ever written and can be read: the sum of the ends."""
        return sum(self.offsets.values())

    @property
    def unstable(self) -> dict[int, int]:
        """Partition to the number of records that wait for an open transaction to end, if any."""
        waiting = {part: end - self.offsets[part] for part, end in self.high_watermarks.items()}
        return {part: count for part, count in waiting.items() if count > 0}


def client_config(kafka: KafkaConfig) -> dict[str, Any]:
    """The configuration that all confluent-kafka clients share."""
    return {**librdkafka_options(kafka), "logger": _silent}


def broker_answers(kafka: KafkaConfig, timeout_s: float) -> bool:
    """Whether a broker answers with its metadata in time."""
    with suppress(KafkaUnavailable):
        Admin(kafka).metadata(timeout_s=timeout_s)
        return True
    return False


def ensure_topics(
    kafka: KafkaConfig, topics: Iterable[str], dead_letters: str | None = None
) -> None:
    """Create topics, if missing; that of dead letters takes messages of `max_dead_letter_bytes`.

    Raises:
        KafkaUnavailable: the broker does not answer in 15 s, or refuses (authorisation, a name).
    """
    admin = Admin(kafka)
    admin.metadata(timeout_s=_CREATE_S)
    sizes = dict.fromkeys(topics, kafka.max_message_bytes)
    if dead_letters is not None:
        sizes[dead_letters] = kafka.max_dead_letter_bytes
    new = [
        NewTopic(topic, kafka.partitions, config={"max.message.bytes": str(max_bytes)})
        for topic, max_bytes in sizes.items()
    ]
    limits = {"request_timeout": _CREATE_S, "operation_timeout": _CREATE_S}
    for topic, creation in admin.client.create_topics(new, **limits).items():
        try:
            creation.result(_CREATE_S + 1)
            admin.wait_for(topic, _CREATE_S)
            logger.info("topic %s with %d partitions", topic, kafka.partitions)
        except (KafkaException, TimeoutError) as error:
            if kafka_error(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                admin.fail(error)


def end_offsets(kafka: KafkaConfig, topic: str, timeout_s: float = 5) -> TopicOffsets:
    """The topic's id, and the offsets of its partitions, as far as a consumer can read them.

    Raises:
        KafkaUnavailable: the broker does not answer in `timeout_s` seconds.
        TopicMissing: it answers that there is no such topic.
    """
    return Admin(kafka).offsets(topic, timeout_s)


def topic_id_text(topic_id: Uuid) -> str:
    """A topic's id as Kafka's own tools write it; librdkafka's has `/` and `+`."""
    return str(topic_id).translate(str.maketrans("+/", "-_"))


class Admin:
    """An admin client that raises a refused login at once, not after the timeout."""

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        refused: list[KafkaError] = []

        def on_error(error: KafkaError) -> None:  # no cycle with self, which is freed in time
            if error.code() in _LOGIN:
                refused.append(error)

        self._refused = refused
        self.client = AdminClient(client_config(kafka) | {"error_cb": on_error})

    def metadata(self, topic: str | None = None, timeout_s: float = 5) -> Any:
        """The cluster's metadata; KafkaUnavailable if there is no answer in time, or no login."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            try:
                return self.client.list_topics(topic, timeout=max(0.05, min(left, _POLL_S)))
            except KafkaException as error:
                self.client.poll(0)  # runs the callback
                if self._refused or left <= _POLL_S:
                    self.fail(error)

    def wait_for(self, topic: str, timeout_s: float) -> None:
        """Wait until brokers know a new topic: the controller reports it as created before that.

        Raises:
            TimeoutError: they do not know it in time.
            KafkaUnavailable: they do not answer.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            metadata = self.metadata(topic, timeout_s).topics[topic]
            parts = metadata.partitions.values()
            if metadata.error is None and parts and all(part.leader >= 0 for part in parts):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the brokers do not know the new topic {topic!r}")
            time.sleep(0.05)

    def offsets(self, topic: str, timeout_s: float = 5) -> TopicOffsets:
        """See `end_offsets`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._offsets(topic, deadline)
            except (KafkaException, TimeoutError) as error:
                code = kafka_error(error).code()
                if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise TopicMissing(
                        f"there is no topic {topic!r} on {self._kafka.bootstrap_servers}"
                    ) from None
                if code not in _TRANSIENT or time.monotonic() > deadline:
                    self.fail(error)
                time.sleep(0.1)

    def fail(self, error: Exception) -> NoReturn:
        """Raise KafkaUnavailable for an error of a client."""
        cause = self._refused[0] if self._refused else kafka_error(error)
        login, address = "QA_ASSETS_KAFKA_SASL_*, _SSL_*", "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS"
        raise KafkaUnavailable(
            f"Kafka on {self._kafka.bootstrap_servers} ({login if self._refused else address}) "
            f"does not answer as it should: {cause.str()}"
        ) from None

    def _offsets(self, topic: str, deadline: float) -> TopicOffsets:
        def left() -> float:
            return max(0.1, deadline - time.monotonic())

        # the metadata first: it fails early when the broker cannot be reached
        metadata = self.metadata(topic, left()).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        described = self.client.describe_topics(TopicCollection([topic]), request_timeout=left())
        places = [TopicPartition(topic, number) for number in metadata.partitions]
        requests = [
            self.client.list_offsets(
                dict.fromkeys(places, spec), isolation_level=isolation, request_timeout=left()
            )
            for spec, isolation in (
                (OffsetSpec.latest(), IsolationLevel.READ_COMMITTED),
                (OffsetSpec.earliest(), IsolationLevel.READ_COMMITTED),
                (OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED),
            )
        ]
        offsets = (
            {place.partition: future.result(left()).offset for place, future in futures.items()}
            for futures in requests
        )
        return TopicOffsets(topic_id_text(described[topic].result(left()).topic_id), *offsets)


def kafka_error(error: Exception) -> KafkaError:
    """The error of librdkafka in an exception; Python's own timeouts count as librdkafka's."""
    cause = error.args[0] if error.args else None
    if isinstance(cause, KafkaError):
        return cause
    return KafkaError(KafkaError._TIMED_OUT, str(error) or "timed out")  # noqa: SLF001
