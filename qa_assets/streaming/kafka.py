"""Talking to Kafka without hanging: client settings, topics and their offsets."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from qa_assets.streaming.security import librdkafka_options

if TYPE_CHECKING:
    from qa_assets.streaming.config import KafkaSettings

logger = logging.getLogger(__name__)

_silent = logging.getLogger(f"{__name__}.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # errors are raised; its own lines repeat them for ever

# of a topic that was just made, or of a broker that was just started
_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
)
_LOGIN = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001  librdkafka's own codes
_LOOK_S = 0.25
_LETTER_ROOM = 64 * 1024
"""Bytes that the headers of a dead letter may take beside the message."""


class KafkaUnavailable(RuntimeError):  # noqa: N818
    """The broker does not answer, or not in time, or lets us not in."""


class TopicMissing(LookupError):  # noqa: N818
    """The topic does not exist (yet)."""


@dataclass(frozen=True)
class TopicOffsets:
    """Where a topic stands.

    A topic that was deleted and made again has another `topic_id`, and its offsets start again.
    """

    topic_id: str
    offsets: dict[int, int]
    """Partition to the offset of the next message that will be written."""
    begin: dict[int, int]
    """Partition to the offset of the first message that it still holds."""

    @property
    def total(self) -> int:
        """Messages that were ever written: the sum of the ends."""
        return sum(self.offsets.values())


def client_config(
    kafka: "KafkaSettings", on_error: Callable[[KafkaError], None] | None = None
) -> dict[str, Any]:
    """What every confluent-kafka client of ours is made with."""
    watched = {"error_cb": on_error} if on_error else {}
    return {**librdkafka_options(kafka), "logger": _silent, **watched}


def broker_answers(kafka: "KafkaSettings", timeout_s: float) -> bool:
    """Whether a broker tells its metadata within the time."""
    try:
        Admin(kafka).metadata(timeout_s=timeout_s)
    except KafkaUnavailable:
        return False
    return True


def ensure_topics(kafka: "KafkaSettings", topics: Iterable[str], timeout_s: float = 15) -> None:
    """Make the topics that do not exist, with `kafka.partitions` partitions.

    They take messages of `kafka.max_message_bytes`; that of dead letters takes room for headers
    more.

    Raises:
        KafkaUnavailable: the broker does not answer in time, or refuses (authorisation, a name).
    """
    admin = Admin(kafka)
    admin.metadata(timeout_s=timeout_s)
    new = [
        NewTopic(
            topic,
            num_partitions=kafka.partitions,
            config={"max.message.bytes": str(most_bytes(kafka, topic))},
        )
        for topic in dict.fromkeys(topics)
    ]
    for topic, made in admin.client.create_topics(
        new, request_timeout=timeout_s, operation_timeout=timeout_s
    ).items():
        try:
            made.result(timeout_s + 1)
            logger.info("topic %s with %d partitions", topic, kafka.partitions)
        except (KafkaException, TimeoutError) as error:
            if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                admin.fail(error)


def most_bytes(kafka: "KafkaSettings", topic: str) -> int:
    """The largest message that a topic of ours takes."""
    room = _LETTER_ROOM if topic == kafka.dead_letter_topic else 0
    return kafka.max_message_bytes + room


def end_offsets(kafka: "KafkaSettings", topic: str, timeout_s: float = 5) -> TopicOffsets:
    """The topic's id, and where its partitions begin and end.

    Raises:
        KafkaUnavailable: the broker does not answer in `timeout_s` seconds.
        TopicMissing: it answers that there is no such topic.
    """
    return Admin(kafka).offsets(topic, timeout_s)


def topic_id_text(topic_id: Uuid) -> str:
    """A topic's id as Kafka's own tools write it, which can name a directory.

    librdkafka writes it with the `/` and `+` of plain base64.
    """
    return str(topic_id).translate(str.maketrans("+/", "-_"))


class Admin:
    """A connection on which topics are looked at, for as long as it is kept."""

    def __init__(self, kafka: "KafkaSettings") -> None:
        self._kafka = kafka
        refused: list[KafkaError] = []

        def on_error(error: KafkaError) -> None:  # knows nothing of self, which so ends in time
            if error.code() in _LOGIN:
                refused.append(error)

        self._refused = refused
        self.client = AdminClient(client_config(kafka, on_error))

    def metadata(self, topic: str | None = None, timeout_s: float = 5) -> Any:
        """The cluster's metadata. A login that is refused is told at once, not at the end.

        Raises:
            KafkaUnavailable: there is no answer in time, or no login.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            try:
                return self.client.list_topics(topic, timeout=max(0.05, min(left, _LOOK_S)))
            except KafkaException as error:
                self.client.poll(0)  # what went wrong with the connection is told by a callback
                if self._refused or left <= _LOOK_S:
                    self.fail(error)

    def offsets(self, topic: str, timeout_s: float = 5) -> TopicOffsets:
        """See `end_offsets`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self._offsets(topic, deadline)
            except (KafkaException, TimeoutError) as error:
                code = _code(error)
                if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise TopicMissing(
                        f"there is no topic {topic!r} on {self._kafka.bootstrap_servers}"
                    ) from None
                if code not in _PASSING or time.monotonic() > deadline:
                    self.fail(error)
                time.sleep(0.1)

    def fail(self, error: Exception) -> NoReturn:
        """Raise KafkaUnavailable for what a client raised."""
        cause = self._refused[0] if self._refused else kafka_error(error)
        why = cause.str() if cause else str(error)
        variable = (
            "QA_ASSETS_KAFKA_SASL_*, _SSL_*"
            if self._refused
            else ("QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS")
        )
        raise KafkaUnavailable(
            f"Kafka on {self._kafka.bootstrap_servers} ({variable}) does not answer as it should: "
            f"{why or 'timed out'}"
        ) from None

    def _offsets(self, topic: str, deadline: float) -> TopicOffsets:
        def left() -> float:
            return max(0.1, deadline - time.monotonic())

        # the metadata first: its wait ends when the broker cannot be reached
        partitions = self.metadata(topic, left()).topics[topic]
        if partitions.error is not None:
            raise KafkaException(partitions.error)
        described = self.client.describe_topics(TopicCollection([topic]), request_timeout=left())
        places = [TopicPartition(topic, number) for number in partitions.partitions]
        asked = [
            self.client.list_offsets(dict.fromkeys(places, spec), request_timeout=left())
            for spec in (OffsetSpec.latest(), OffsetSpec.earliest())
        ]
        end, begin = (
            {place.partition: found.result(left()).offset for place, found in one.items()}
            for one in asked
        )
        return TopicOffsets(topic_id_text(described[topic].result(left()).topic_id), end, begin)


def kafka_error(error: BaseException) -> KafkaError | None:
    """What librdkafka says in an exception, if it is of it."""
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else None


def _code(error: Exception) -> int | None:
    cause = kafka_error(error)
    return cause.code() if cause else None
