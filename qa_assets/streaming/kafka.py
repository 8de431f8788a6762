"""Talking to Kafka without hanging: client settings, topics and their offsets."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

if TYPE_CHECKING:
    from qa_assets.settings import KafkaSettings

logger = logging.getLogger(__name__)

_silent = logging.getLogger(f"{__name__}.librdkafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # errors are raised; its own lines repeat them for ever

# a topic that was just made has no leader yet
_PASSING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


class KafkaUnavailable(RuntimeError):  # noqa: N818
    """The broker does not answer, or not in time."""


class TopicMissing(LookupError):  # noqa: N818
    """The topic does not exist (yet)."""


@dataclass(frozen=True)
class TopicOffsets:
    """Where a topic stands.

    A topic that was deleted and made again has another `topic_id`, and its offsets start again.
    """

    topic_id: str
    offsets: dict[int, int]
    """Partition to offset: the next one to be written (end) or the first there is (begin)."""

    @property
    def total(self) -> int:
        """Sum over the partitions."""
        return sum(self.offsets.values())


def client_config(kafka: "KafkaSettings") -> dict[str, Any]:
    """What every confluent-kafka client of ours is made with."""
    return {"bootstrap.servers": kafka.bootstrap_servers, "logger": _silent}


def broker_answers(bootstrap_servers: str, timeout_s: float) -> bool:
    """Whether a broker tells its metadata within the time."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "logger": _silent})
    try:
        return bool(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def ensure_topics(kafka: "KafkaSettings", topics: Iterable[str], timeout_s: float = 15) -> None:
    """Make the topics that do not exist, with `kafka.partitions` partitions.

    Raises:
        KafkaUnavailable: the broker does not answer in time.
        KafkaException: it refuses (authorisation, an unusable name).
    """
    admin = AdminClient(client_config(kafka))
    new = [NewTopic(topic, num_partitions=kafka.partitions) for topic in dict.fromkeys(topics)]
    for topic, made in admin.create_topics(
        new, request_timeout=timeout_s, operation_timeout=timeout_s
    ).items():
        try:
            made.result(timeout_s + 1)
            logger.info("topic %s with %d partitions", topic, kafka.partitions)
        except (KafkaException, TimeoutError) as error:
            if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                _raise(kafka, error)


def end_offsets(kafka: "KafkaSettings", topic: str, timeout_s: float = 5) -> TopicOffsets:
    """The topic's id and the offsets that its next messages will have.

    Raises:
        KafkaUnavailable: the broker does not answer in `timeout_s` seconds.
        TopicMissing: it answers that there is no such topic.
    """
    return _offsets(kafka, topic, OffsetSpec.latest(), timeout_s)


def begin_offsets(kafka: "KafkaSettings", topic: str, timeout_s: float = 5) -> TopicOffsets:
    """The topic's id and the offsets of the first messages that it still holds.

    Raises:
        KafkaUnavailable: the broker does not answer in `timeout_s` seconds.
        TopicMissing: it answers that there is no such topic.
    """
    return _offsets(kafka, topic, OffsetSpec.earliest(), timeout_s)


def topic_id_text(topic_id: Uuid) -> str:
    """A topic's id as Kafka's own tools write it, which can name a directory.

    librdkafka writes it with the `/` and `+` of plain base64.
    """
    return str(topic_id).translate(str.maketrans("+/", "-_"))


def _offsets(
    kafka: "KafkaSettings", topic: str, spec: OffsetSpec, timeout_s: float
) -> TopicOffsets:
    admin = AdminClient(client_config(kafka))
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return _ask_offsets(admin, topic, spec, deadline)
        except (KafkaException, TimeoutError) as error:
            code = _code(error)
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicMissing(
                    f"there is no topic {topic!r} on {kafka.bootstrap_servers}"
                ) from None
            if code not in _PASSING or time.monotonic() > deadline:
                _raise(kafka, error)
            time.sleep(0.1)


def _ask_offsets(admin: AdminClient, topic: str, spec: OffsetSpec, deadline: float) -> TopicOffsets:
    def left() -> float:
        return max(0.1, deadline - time.monotonic())

    # the metadata first: its wait ends when the broker cannot be reached
    partitions = admin.list_topics(topic, timeout=left()).topics[topic]
    if partitions.error is not None:
        raise KafkaException(partitions.error)
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=left())
    topic_id = topic_id_text(described[topic].result(left()).topic_id)
    wanted = {TopicPartition(topic, number): spec for number in partitions.partitions}
    offsets = {
        partition.partition: found.result(left()).offset
        for partition, found in admin.list_offsets(wanted, request_timeout=left()).items()
    }
    return TopicOffsets(topic_id, offsets)


def _cause(error: Exception) -> KafkaError | None:
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else None


def _code(error: Exception) -> int | None:
    cause = _cause(error)
    return cause.code() if cause else None


def _raise(kafka: "KafkaSettings", error: Exception) -> NoReturn:
    cause = _cause(error)
    raise KafkaUnavailable(
        f"Kafka on {kafka.bootstrap_servers} (QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS) does not answer "
        f"as it should: {(cause.str() if cause else str(error)) or 'timed out'}"
    ) from error
