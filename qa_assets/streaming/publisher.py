"""Sends a batch's answers and dead letters in one Kafka transaction, with the offsets it answers.

The offsets are those of the consumer group, committed by the same transaction: they say, whatever
broke meanwhile, which questions were told of. So readers in `read_committed` see one answer for
each question, and Kafka's own tools show how far the group lags behind.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from qa_assets.streaming.kafka import KafkaUnavailable, client_config, kafka_error, most_bytes

if TYPE_CHECKING:
    from qa_assets.streaming.config import KafkaSettings

logger = logging.getLogger(__name__)

_CALL_S = 5.0  # librdkafka's own limit of a call, which it does not always keep
_DEADLINE_S = 45.0  # a broker that was killed is back after half a minute at most
_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001  librdkafka's own code
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)
# what librdkafka gives up, outside of transactions, though a broker that has just started loads it
_COORDINATOR_COMES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._WAIT_COORD,  # noqa: SLF001
)
_TIMEOUT_MS = 60_000  # the broker aborts what a killed process left, if no other does before


class FencedError(RuntimeError):
    """Another process has taken over: this one must not send any more."""


@dataclass(frozen=True)
class Outgoing:
    """A message to send, for the question at `partition` and `offset`."""

    partition: int
    offset: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Publisher:
    """The one sender for a topic of questions; a new one fences the one before it."""

    def __init__(self, kafka: "KafkaSettings", topic_id: str) -> None:
        """Take over from whoever sent before: what it left open is aborted or completed.

        Args:
            kafka: the broker and its topics.
            topic_id: of the topic of questions.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        self._kafka, self._topic_id = kafka, topic_id
        # never subscribed: it only names the group and reads its offsets
        self._group = Consumer(
            client_config(kafka) | {"group.id": kafka.consumer_group, "enable.auto.commit": False}
        )
        self._producer = Producer(
            client_config(kafka)
            | {
                "transactional.id": f"{kafka.consumer_group}.{topic_id}",
                "transaction.timeout.ms": _TIMEOUT_MS,
                "message.max.bytes": most_bytes(kafka, kafka.dead_letter_topic),
                "partitioner": "murmur2_random",
                "linger.ms": 5,
            }
        )
        self._calling(lambda: self._producer.init_transactions(_CALL_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._group.close()

    def told(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition to the first offset whose question is not told of; without what is unknown.

        Waits for a transaction whose commit is under way.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        asked = [TopicPartition(self._kafka.questions_topic, number) for number in partitions]
        if not asked:
            return {}
        found: list[TopicPartition] = self._calling(lambda: self._group.committed(asked, _CALL_S))
        return {
            place.partition: place.offset
            for place in found
            # those of a topic that had the same name count from another beginning
            if place.offset >= 0 and place.metadata == self._topic_id
        }

    def send(self, messages: Callable[[], Iterable[Outgoing]], ends: Mapping[int, int]) -> None:
        """Send all of the messages, and with them that everything before `ends` is told of.

        Args:
            messages: gives them in the order in which they are to be sent; called again where the
                transaction has to be.
            ends: partition to the offset behind the batch.

        Raises:
            KafkaUnavailable: the broker did not take them; whether it took them all or none is
                known when it answers again.
            FencedError: another process has taken over.
        """
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            try:
                return self._transaction(messages(), ends, deadline)
            except KafkaException as error:
                if not _may_be_repeated(error) or time.monotonic() > deadline:
                    self._fail(error)
                logger.info("the transaction is aborted and tried again: %s", error)
                self._calling(lambda: self._producer.abort_transaction(_CALL_S), deadline)

    def _transaction(
        self, messages: Iterable[Outgoing], ends: Mapping[int, int], deadline: float
    ) -> None:
        self._producer.begin_transaction()
        for message in messages:
            self._produce(message, deadline)
        offsets = [
            TopicPartition(self._kafka.questions_topic, partition, end, metadata=self._topic_id)
            for partition, end in ends.items()
        ]
        group = self._group.consumer_group_metadata()
        calls: list[Callable[[], Any]] = [
            lambda: self._producer.send_offsets_to_transaction(offsets, group, _CALL_S),
            lambda: self._producer.commit_transaction(_CALL_S),
        ]
        for call in calls:
            self._calling(call, deadline)

    def _produce(self, message: Outgoing, deadline: float) -> None:
        while True:
            try:
                self._producer.produce(
                    message.topic, message.value, message.key, headers=message.headers
                )
                return
            except BufferError:  # the client's queue is full
                if time.monotonic() > deadline:
                    raise KafkaUnavailable(
                        f"Kafka on {self._kafka.bootstrap_servers} takes no more messages"
                    ) from None
                self._producer.poll(0.5)

    def _calling(self, call: Callable[[], Any], deadline: float | None = None) -> Any:
        """Call, again for as long as librdkafka says that it may succeed."""
        until = deadline or time.monotonic() + _DEADLINE_S
        while True:
            try:
                return _in_time(call, 2 * _CALL_S)
            except TimeoutError:
                raise KafkaUnavailable(
                    f"Kafka on {self._kafka.bootstrap_servers} did not answer in time; whether it "
                    "took the answers is known when it answers again"
                ) from None
            except KafkaException as error:
                cause = kafka_error(error)
                if not _may_succeed(cause) or time.monotonic() > until:
                    if _may_be_repeated(error):
                        raise
                    self._fail(error)
                time.sleep(0.1)

    def _fail(self, error: KafkaException) -> None:
        cause = kafka_error(error)
        said = cause.str() if cause else str(error)
        if cause is not None and cause.code() in _FENCED:
            raise FencedError(
                f"another process answers {self._kafka.questions_topic!r} as the consumer group "
                f"{self._kafka.consumer_group!r}: end it, or set QA_ASSETS_KAFKA_CONSUMER_GROUP to "
                f"another name for this one ({said})"
            ) from error
        raise KafkaUnavailable(
            f"Kafka on {self._kafka.bootstrap_servers} did not take the answers (those that it did "
            f"not take are sent next time): {said}"
        ) from error


def _may_succeed(cause: KafkaError | None) -> bool:
    return cause is not None and (cause.retriable() or cause.code() in _COORDINATOR_COMES)


def _may_be_repeated(error: KafkaException) -> bool:
    """Whether the transaction failed in a way that leaves the producer able to try it again."""
    cause = kafka_error(error)
    if cause is None or cause.fatal():
        return False
    # _STATE: it failed before, and a message is produced to what is left of it
    return bool(cause.txn_requires_abort()) or cause.code() == KafkaError._STATE  # noqa: SLF001


def _in_time(call: Callable[[], Any], seconds: float) -> Any:
    """Call in a thread that is left to itself after so many seconds.

    `send_offsets_to_transaction` was seen to wait for ever, whatever timeout it is given, for a
    broker that was killed meanwhile and has long come back (librdkafka 2.16.0).

    Raises:
        TimeoutError: it did not return.
    """
    done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return value
