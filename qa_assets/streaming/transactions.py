"""What producers' transactions hide on the topic of requests.

Offsets alone do not say it. Records behind the last stable offset wait until the transaction that
was begun there has ended. Before it there are records that nobody reads: of aborted transactions,
markers that end a transaction, and gaps that compaction left.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, Message, TopicPartition

from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.kafka import TopicOffsets, client_config

_CONSUMER = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 10,  # the end of a partition is reported at once
    "queued.min.messages": 1,  # no more than the first message is looked at
}


@dataclass(frozen=True)
class OpenTransaction:
    """Records that wait for open transactions to end."""

    records: int
    since: float | None
    """When the first of them was written, in seconds since the epoch; None if that is not known."""

    def __str__(self) -> str:
        records = "1 record waits" if self.records == 1 else f"{self.records} records wait"
        text = f"{records} for a producer's open transaction"
        if self.since is None:
            return text
        return f"{text}, the first for {duration_text(time.time() - self.since)}"


def open_transaction(
    context: StreamContext, topic: TopicOffsets, timeout_s: float
) -> OpenTransaction | None:
    """What waits on the topic of requests for an open transaction; None if nothing does."""
    unstable = topic.unstable
    if not unstable:
        return None
    starts = {part: topic.offsets[part] for part in unstable}
    return OpenTransaction(sum(unstable.values()), first_written(context, starts, timeout_s))


def first_written(
    context: StreamContext, starts: Mapping[int, int], timeout_s: float
) -> float | None:
    """When the oldest of the first records at these offsets was written, committed or not.

    Seconds since the epoch; None if there are none, or the broker does not answer in time.
    """
    times = []
    with suppress(TimeoutError):
        for message in _first_messages(context, starts, "read_uncommitted", timeout_s):
            kind, milliseconds = message.timestamp()
            if kind != TIMESTAMP_NOT_AVAILABLE:
                times.append(milliseconds / 1000)
    return min(times, default=None)


def holds_messages(context: StreamContext, starts: Mapping[int, int], timeout_s: float) -> bool:
    """Whether a consumer finds a message from these offsets on; true if it has not time to see."""
    with closing(_first_messages(context, starts, "read_committed", timeout_s)) as messages:
        try:
            return next(messages, None) is not None
        except TimeoutError:
            return True


def duration_text(seconds: float) -> str:
    """A time as people say it: 40 s, 12 min, 5 h."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _first_messages(
    context: StreamContext, starts: Mapping[int, int], isolation: str, timeout_s: float
) -> Generator[Message, None, None]:
    """The first message of each partition from its offset on, where there is one.

    Raises:
        TimeoutError: not all partitions were read in time.
    """
    deadline, unread = time.monotonic() + timeout_s, set(starts)
    # never subscribed: the group is only one that the user may read as
    group = {"group.id": context.topics.consumer_group, "isolation.level": isolation}
    consumer = Consumer(client_config(context.kafka) | _CONSUMER | group)
    try:
        topic = context.topics.requests
        consumer.assign([TopicPartition(topic, part, at) for part, at in starts.items()])
        while unread:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            message = consumer.poll(left)
            if message is None or message.partition() not in unread:
                continue
            error = message.error()
            if error is None:
                unread.discard(message.partition())
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's own code
                unread.discard(message.partition())
    finally:
        consumer.close()
