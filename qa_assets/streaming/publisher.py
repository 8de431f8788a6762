"""Publishes a micro-batch in one Kafka transaction, with the consumer group's offsets.

The committed offsets say, after any crash, which responses are published. So readers in
`read_committed` see one response for each request, and Kafka's own tools show the group's lag.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.kafka import KafkaUnavailable, TopicOffsets, client_config, kafka_error
from qa_assets.streaming.producer import PRODUCER, produce

logger = logging.getLogger(__name__)

_CALL_S = 5.0  # the timeout that librdkafka is given, which it may exceed
_DEADLINE_S = 45.0  # a killed broker that is restarted is back within half a minute
_FENCED = (
    KafkaError._FENCED,  # noqa: SLF001  librdkafka's own code
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
)
# not retried by librdkafka outside of transactions; a broker that has just started is loading it
_COORDINATOR_LOADING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._WAIT_COORD,  # noqa: SLF001
)
_TRANSACTION_TIMEOUT_MS = 60_000  # the broker then aborts what a killed process left open


class FencedError(RuntimeError):
    """Another process has taken over: this one must not publish any more."""


class Publisher:
    """The transactional producer for a topic of requests; a new producer fences an earlier one."""

    def __init__(self, context: StreamContext, requests: TopicOffsets) -> None:
        """Abort or complete the open transaction of an earlier producer.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        self._topics, self._requests = context.topics, requests
        self._servers = context.kafka.bootstrap_servers
        client, group = client_config(context.kafka), context.topics.consumer_group
        # never subscribed: it only names the group and reads its offsets
        self._group = Consumer(client | {"group.id": group, "enable.auto.commit": False})
        transactions = {
            "transactional.id": f"{group}.{requests.topic_id}",
            "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
            "message.max.bytes": context.kafka.max_dead_letter_bytes,
        }
        self._producer = Producer(client | PRODUCER | transactions)
        self._retrying(self._producer.init_transactions)

    def close(self) -> None:
        """Close the group's consumer."""
        self._group.close()

    def published(self) -> dict[int, int]:
        """Partition to the first offset whose response is not published, where that is known.

        Waits for a transaction whose commit is under way.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        places = [TopicPartition(self._topics.requests, part) for part in self._requests.offsets]
        committed = self._retrying(self._group.committed, places)
        return {
            place.partition: place.offset
            for place in committed
            # those of an earlier topic of the same name do not count
            if place.offset >= 0 and place.metadata == self._requests.topic_id
        }

    def publish(
        self, messages: Callable[[], Iterable[Mapping[str, Any]]], ends: Mapping[int, int]
    ) -> None:
        """Publish messages, and commit `ends` as the group's offsets, in one transaction.

        `messages` returns arguments of `Producer.produce`, again to repeat the transaction.

        Raises:
            KafkaUnavailable: the broker failed; it took all of the messages or none.
            FencedError: another process has taken over.
        """
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            try:
                return self._transaction(messages(), ends, deadline)
            except BufferError:
                raise KafkaUnavailable(f"Kafka on {self._servers} takes no more messages") from None
            except KafkaException as error:
                if not _abortable(error) or time.monotonic() > deadline:
                    self._fail(error)
                logger.info("the transaction is aborted and repeated: %s", error)
                self._retrying(self._producer.abort_transaction, deadline=deadline)

    def _transaction(
        self, messages: Iterable[Mapping[str, Any]], ends: Mapping[int, int], deadline: float
    ) -> None:
        self._producer.begin_transaction()
        for message in messages:
            produce(self._producer, deadline, **message)
        offsets = [
            TopicPartition(self._topics.requests, partition, end, metadata=self._requests.topic_id)
            for partition, end in ends.items()
        ]
        group = self._group.consumer_group_metadata()
        send = self._producer.send_offsets_to_transaction
        self._retrying(send, offsets, group, deadline=deadline)
        self._retrying(self._producer.commit_transaction, deadline=deadline)

    def _retrying(self, call: Callable[..., Any], *args: Any, deadline: float | None = None) -> Any:
        """Call with `_CALL_S` as last argument; retry errors that librdkafka calls retriable."""
        until = deadline or time.monotonic() + _DEADLINE_S
        while True:
            try:
                return _with_timeout(lambda: call(*args, _CALL_S), 2 * _CALL_S)
            except TimeoutError:
                raise KafkaUnavailable(
                    f"Kafka on {self._servers} did not answer in time; whether it took the "
                    "responses is known when it answers again"
                ) from None
            except KafkaException as error:
                cause = kafka_error(error)
                retriable = cause.retriable() or cause.code() in _COORDINATOR_LOADING
                if time.monotonic() > until or not retriable:
                    if _abortable(error):
                        raise
                    self._fail(error)
                time.sleep(0.1)

    def _fail(self, error: KafkaException) -> NoReturn:
        cause = kafka_error(error)
        if cause.code() in _FENCED:
            raise FencedError(
                f"another process answers {self._topics.requests!r} as the consumer group "
                f"{self._topics.consumer_group!r}: end it, or set `topics.consumer_group` to "
                f"another name for this one ({cause.str()})"
            ) from error
        raise KafkaUnavailable(
            f"Kafka on {self._servers} did not take the responses (those that it did not take are "
            f"sent next time): {cause.str()}"
        ) from error


def _abortable(error: KafkaException) -> bool:
    """Whether the transaction can be aborted and repeated by the same producer."""
    cause = kafka_error(error)
    # _STATE: a message was produced after the transaction had failed
    failed = cause.txn_requires_abort() or cause.code() == KafkaError._STATE  # noqa: SLF001
    return failed and not cause.fatal()


def _with_timeout(call: Callable[[], Any], seconds: float) -> Any:
    """Call in a thread, which is abandoned with a TimeoutError after so many seconds.

    `send_offsets_to_transaction` was seen to block for ever, whatever its timeout, after a broker
    was killed and had long been restarted (librdkafka 2.16.0).
    """
    result: Future[Any] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result.result(timeout=seconds)
