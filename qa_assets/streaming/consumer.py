"""Consumes requests from their topic with Spark Structured Streaming, from the checkpoint on.

`process_available` goes to the ends of the partitions, `process_until` on until it is stopped.
Spark's query is in `query`, what is done with a micro-batch in `micro_batch`.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from qa_assets.streaming import query
from qa_assets.streaming.data_loss import require_resumable
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import TopicOffsets, end_offsets, ensure_topics
from qa_assets.streaming.micro_batch import ConsumerError, MicroBatchProcessor, Model
from qa_assets.streaming.publisher import Publisher

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from qa_assets.streaming.config import StreamContext

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamSummary:
    """What a run did, and where the stream stands after it."""

    topic_id: str
    end_offsets: dict[int, int]
    """Partition to the first offset that is not answered yet."""
    lag: int = 0
    """Messages that were on the topic at the end of the run and are not answered."""
    messages: int = 0
    answered: int = 0
    abstained: int = 0
    duplicates: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By reason."""
    lost: int = 0
    """Messages that were deleted before they were answered."""
    batches: int = 0
    latency_s: dict[str, float] = field(default_factory=dict)
    """p50, p95 and p99 of the seconds from asked_at to answered_at; empty without requests."""
    duration_s: float = 0.0
    earlier_topics: tuple[str, ...] = ()
    """Ids of earlier topics of this name, in the first run on a topic that was created again."""

    @property
    def messages_per_s(self) -> float:
        """Throughput of the run, its start included."""
        return self.messages / self.duration_s if self.duration_s else 0.0


def process_available(
    spark: "SparkSession", context: "StreamContext", model: Model, out: Path
) -> StreamSummary:
    """Answer the requests that are on the topic now, `max_messages_per_run` or so, and return.

    The table in `out` (see `table.ResponseTable`) gets a row for each request, each offset once.
    Each response is published once, to be read in `read_committed`. Messages that cannot be read go
    to the topic of dead letters with their own bytes, and headers with the reason and the origin.

    Args:
        spark: a session with the Kafka connector.
        context: the stream; topics of responses and dead letters are created if missing.
        model: predicts.
        out: directory of the table and, for each topic id, of the consumer's state.

    Raises:
        KafkaUnavailable: the broker does not answer.
        TopicMissing: there is no topic of requests.
        DataLossError: unanswered requests are gone, and `on_data_loss` is `fail`.
        FencedError: another process answers as the same consumer group.
        ConsumerError: the checkpoint is gone, another process uses it, the model drops rows, or
            Spark fails.
    """
    started = time.monotonic()
    directory, start = _open(context, out)
    reached = _check(directory, start)
    waiting = any(reached.get(part, start.begin[part]) < end for part, end in start.offsets.items())
    if not waiting and not directory.checkpoint.pending:
        return StreamSummary(start.topic_id, start.offsets, duration_s=time.monotonic() - started)
    limit = context.config.max_messages_per_run
    return _run(spark, directory, start, lambda: model, query.available_now, limit, started)


def process_until(
    spark: "SparkSession",
    context: "StreamContext",
    model: Callable[[], Model],
    out: Path,
    stop: threading.Event,
) -> StreamSummary:
    """Answer requests as they come until `stop` is set; the micro-batch under way is finished then.

    Returns by itself after `renew_after_messages`, for the process to be replaced.

    Args:
        spark: see `process_available`, as for `out`.
        context: see there. The topic of requests is created too, if missing.
        model: asked before each micro-batch for the model that is to predict.
        out: see there.
        stop: ends the run when it is set, by a handler of SIGTERM for instance.

    Raises:
        KafkaUnavailable, DataLossError, FencedError, ConsumerError: see `process_available`.
    """
    started = time.monotonic()
    ensure_topics(context.kafka, [context.topics.requests])
    directory, start = _open(context, out)
    _check(directory, start)
    ending = query.until(stop, context.config.trigger_ms)
    limit = context.config.renew_after_messages
    return _run(spark, directory, start, model, ending, limit, started)


def _open(context: "StreamContext", out: Path) -> tuple[StreamDirectory, TopicOffsets]:
    start = end_offsets(context.kafka, context.topics.requests, timeout_s=15)
    return StreamDirectory(out, start.topic_id, context), start


def _check(directory: StreamDirectory, start: TopicOffsets) -> dict[int, int]:
    """Check that the run can go on where the last one ended; returns where that was."""
    checkpoint, table = directory.checkpoint, directory.table.path
    if table.exists() and not checkpoint.exists:
        raise ConsumerError(
            f"{table} holds answers, but their checkpoint {checkpoint.path} is gone: put it back, "
            "or move the answers away to have all requests on the topic answered again (what was "
            "published is not published again)"
        )
    reached = checkpoint.reached()
    require_resumable(directory.context, reached, start)
    if not checkpoint.exists and directory.earlier_topics():
        logger.warning(
            "topic %r was created again (id %s): it is answered from its beginning. The answers to "
            "the earlier one are kept; what was unanswered on it is gone with it",
            checkpoint.topic,
            directory.topic_id,
        )
    return reached


def _run(
    spark: "SparkSession",
    directory: StreamDirectory,
    start: TopicOffsets,
    model: Callable[[], Model],
    ending: query.Ending,
    max_messages: int,
    started: float,
) -> StreamSummary:
    """Run the query, for as long as no other process uses the directory."""
    context = directory.context
    earlier = () if directory.checkpoint.exists else directory.earlier_topics()
    directory.state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(directory.state / "lock", blocking=False))
        except Timeout:
            raise ConsumerError(
                f"another process answers into {directory.out} already (`make stream`, or a run in "
                "Dagster): end it, or let it answer"
            ) from None
        topics = context.topics
        ensure_topics(context.kafka, [topics.responses], dead_letters=topics.dead_letters)
        publisher = stack.enter_context(Publisher(context, directory.topic_id))
        processor = MicroBatchProcessor(directory, model, publisher, start, max_messages)
        query.run(spark, directory, processor, ending)
    end = end_offsets(context.kafka, context.topics.requests, timeout_s=15)
    reached, metrics = directory.checkpoint.reached(), processor.metrics
    return StreamSummary(
        topic_id=directory.topic_id,
        end_offsets=reached,
        lag=sum(max(0, offset - reached.get(part, 0)) for part, offset in end.offsets.items()),
        messages=metrics.messages,
        answered=metrics.answered,
        abstained=metrics.abstained,
        duplicates=metrics.duplicates,
        dead_letters=metrics.reasons,
        lost=metrics.lost,
        batches=metrics.batches,
        latency_s=metrics.latency_s(),
        duration_s=time.monotonic() - started,
        earlier_topics=earlier,
    )
