"""Answers questions as they lie on their topic, with Spark Structured Streaming.

From the checkpoint on, in micro-batches: `answer_available` to the ends of the partitions,
`answer_always` until it is told to stop. Spark's query is in `query`, what is done with a batch in
`batches`.
"""

import fcntl
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from qa_assets.streaming import query
from qa_assets.streaming.checkpoint import Checkpoint
from qa_assets.streaming.data_loss import Watch, require_whole
from qa_assets.streaming.deduplicator import Seen
from qa_assets.streaming.kafka import TopicOffsets, end_offsets, ensure_topics
from qa_assets.streaming.metrics import Tally
from qa_assets.streaming.micro_batch import Batches, ConsumerError, Model
from qa_assets.streaming.publisher import Publisher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from qa_assets.streaming.config import KafkaSettings, StreamSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamSummary:
    """What a run did, and where the stream stands after it."""

    topic_id: str
    end_offsets: dict[int, int]
    """Partition to the first offset that is not dealt with yet."""
    lag: int = 0
    """Messages that were on the topic at the end of the run and are not dealt with."""
    messages: int = 0
    answered: int = 0
    abstained: int = 0
    duplicates: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By reason."""
    lost: int = 0
    """Messages that were gone before they were answered."""
    batches: int = 0
    latency_s: dict[str, float] = field(default_factory=dict)
    """p50, p95 and p99 of the seconds from asked_at to answered_at; empty without answers."""
    duration_s: float = 0.0
    earlier_topics: tuple[str, ...] = ()
    """Ids of topics of this name that were answered before this one was made, in the first run."""

    @property
    def messages_per_s(self) -> float:
        """Throughput of the run, its start included."""
        return self.messages / self.duration_s if self.duration_s else 0.0


def answer_available(
    spark: "SparkSession",
    kafka: "KafkaSettings",
    stream: "StreamSettings",
    model: Model,
    out: Path,
) -> StreamSummary:
    """Answer the questions that are on the topic now, `max_questions_per_run` or so, and return.

    `out/table` holds a row an answer, as `table.schema` says and with topic_id and batch_id, each
    offset once. Each answer is sent to its topic once, to be read in `read_committed`. Messages
    that cannot be read go to the dead-letter topic with their own bytes, and headers that say why
    and from where.

    Args:
        spark: a session with the Kafka connector.
        kafka: the broker and its topics; those of answers and dead letters are made if missing.
        stream: how large a batch and a run may be, and what is done where messages are lost.
        model: what answers.
        out: where the table and, for each topic id, the checkpoint lie.

    Raises:
        KafkaUnavailable: the broker does not answer.
        TopicMissing: there is no topic of questions.
        DataLossError: unanswered questions are gone, and `on_data_loss` is `fail`.
        FencedError: another process answers as the same consumer group.
        ConsumerError: the checkpoint is gone, another process uses it, the model drops rows, or
            Spark fails.
    """
    started = time.monotonic()
    start = end_offsets(kafka, kafka.questions_topic, timeout_s=15)
    place = _Place(out, start.topic_id, kafka.questions_topic)
    reached = _check(place, stream, start)
    waiting = any(reached.get(part, start.begin[part]) < end for part, end in start.offsets.items())
    if not waiting and not place.checkpoint.pending:
        return StreamSummary(start.topic_id, start.offsets, duration_s=time.monotonic() - started)
    earlier = () if place.checkpoint.exists else place.earlier()
    with _batches(kafka, stream, lambda: model, place, start, stream.max_questions_per_run) as work:
        query.run(spark, kafka, stream, place.checkpoint.path, work, query.to_the_end)
    end = end_offsets(kafka, kafka.questions_topic, timeout_s=15)
    return _summary(place, work.tally, end, time.monotonic() - started, earlier)


def answer_always(
    spark: "SparkSession",
    kafka: "KafkaSettings",
    stream: "StreamSettings",
    model: Callable[[], Model],
    out: Path,
    stop: threading.Event,
) -> StreamSummary:
    """Answer questions as they come until `stop` is set; the batch under way is finished then.

    Returns by itself after `renew_after_messages`, for the process to be started anew.

    Args:
        spark: see `answer_available`, like the next two and `out`.
        kafka: see there. The topic of questions is made too, if missing.
        stream: see there.
        model: asked before each batch for the model that is to answer it.
        out: see there.
        stop: ends the work when it is set, by a handler of SIGTERM for instance.

    Raises:
        KafkaUnavailable, DataLossError, FencedError, ConsumerError: see `answer_available`.
    """
    started = time.monotonic()
    ensure_topics(kafka, [kafka.questions_topic])
    start = end_offsets(kafka, kafka.questions_topic, timeout_s=15)
    place = _Place(out, start.topic_id, kafka.questions_topic)
    _check(place, stream, start)
    earlier = () if place.checkpoint.exists else place.earlier()
    with _batches(kafka, stream, model, place, start, stream.renew_after_messages) as work:
        ending = query.until(stop, stream.trigger_ms)
        query.run(spark, kafka, stream, place.checkpoint.path, work, ending)
    end = end_offsets(kafka, kafka.questions_topic, timeout_s=15)
    return _summary(place, work.tally, end, time.monotonic() - started, earlier)


@dataclass(frozen=True)
class _Place:
    """Where what belongs to one topic id lies."""

    out: Path
    topic_id: str
    topic: str

    @property
    def home(self) -> Path:
        return self.out / self.topic_id

    @property
    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.home / "checkpoint", self.topic)

    @property
    def table(self) -> Path:
        return self.out / "table" / f"topic_id={self.topic_id}"

    def earlier(self) -> tuple[str, ...]:
        """Ids of topics that were answered before."""
        return tuple(sorted(found.parent.name for found in self.out.glob("*/checkpoint")))


def _check(place: _Place, stream: "StreamSettings", start: TopicOffsets) -> dict[int, int]:
    """See that the run can go on where the last one ended; returns where that was."""
    checkpoint = place.checkpoint
    if place.table.exists() and not checkpoint.exists:
        raise ConsumerError(
            f"{place.table} holds answers, but their checkpoint {checkpoint.path} is gone: put it "
            "back, or move the answers away to have all questions on the topic answered again (on "
            "the topic of answers they are not told again)"
        )
    reached = checkpoint.reached()
    require_whole(place.topic, reached, start, go_on=stream.on_data_loss == "continue")
    if not checkpoint.exists and place.earlier():
        logger.warning(
            "topic %r was made anew (id %s): it is answered from its beginning. The answers to the "
            "earlier one are kept; what was unanswered on it is gone with it",
            place.topic,
            place.topic_id,
        )
    return reached


@contextmanager
def _batches(
    kafka: "KafkaSettings",
    stream: "StreamSettings",
    model: Callable[[], Model],
    place: _Place,
    start: TopicOffsets,
    most: int | None,
) -> Iterator[Batches]:
    """What the batches need, for as long as no other process has it."""
    place.home.mkdir(parents=True, exist_ok=True)
    with (place.home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConsumerError(
                f"another process answers into {place.out} already (`make stream`, or a run of "
                "`answers`): end it, or let it answer"
            ) from None
        ensure_topics(kafka, [kafka.answers_topic, kafka.dead_letter_topic])
        with Publisher(kafka, place.topic_id) as publisher:
            yield Batches(
                kafka,
                model,
                place.checkpoint,
                place.table,
                place.home / "staging" / uuid4().hex,
                Seen(place.home / "seen.sqlite", place.out, place.topic_id),
                publisher,
                Watch(kafka, start, place.home / "lost", go_on=stream.on_data_loss == "continue"),
                most,
            )


def _summary(
    place: _Place, tally: Tally, end: TopicOffsets, duration_s: float, earlier: tuple[str, ...]
) -> StreamSummary:
    reached = place.checkpoint.reached()
    return StreamSummary(
        topic_id=place.topic_id,
        end_offsets=reached,
        lag=sum(max(0, to - reached.get(part, 0)) for part, to in end.offsets.items()),
        messages=tally.messages,
        answered=tally.answered,
        abstained=tally.abstained,
        duplicates=tally.duplicates,
        dead_letters=tally.reasons,
        lost=tally.lost,
        batches=tally.batches,
        latency_s=tally.latency_s(),
        duration_s=duration_s,
        earlier_topics=earlier,
    )
