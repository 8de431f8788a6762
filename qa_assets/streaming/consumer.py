"""Consumes requests from their topic with Spark Structured Streaming, from the checkpoint on.

`process_available` ends at the ends of the partitions, `process_until` when it is stopped. The
processing of a micro-batch is in `micro_batch`.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.data_loss import DataLossError, resume_error
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import KafkaUnavailable, TopicOffsets, end_offsets, ensure_topics
from qa_assets.streaming.micro_batch import (
    ConsumerError,
    MicroBatchProcessor,
    Model,
    RunLimitReached,
    source_columns,
)
from qa_assets.streaming.publisher import Publisher
from qa_assets.streaming.security import redacted, spark_options
from qa_assets.streaming.summary import StreamSummary
from qa_assets.streaming.table import Deduplicator
from qa_assets.streaming.transactions import open_transaction

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

_SOURCE = {
    "startingOffsets": "earliest",
    "includeHeaders": "true",
    "kafkaConsumer.pollTimeoutMs": "30000",
    "kafka.isolation.level": "read_committed",
    "kafka.request.timeout.ms": "15000",
    "kafka.default.api.timeout.ms": "20000",
    # where there are no messages yet, a prefetch delays the next fetch by so long
    "kafka.fetch.max.wait.ms": "20",
}
_COMMIT_S = 10.0


def process_available(
    spark: "SparkSession", context: StreamContext, model: Model, out: Path
) -> StreamSummary:
    """Answer the requests that are on the topic now, `max_messages_per_run` or so, and return.

    The table in `out` (see `table.ResponseTable`) gets a row for each request, each offset once.
    Each response is published once, to be read in `read_committed`. Messages that cannot be read go
    to the topic of dead letters with their own bytes, and headers with the reason and the origin.
    Both topics are created if missing. The session `spark` has the Kafka connector.

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
    reached = directory.checkpoint.reached()
    waiting = any(reached.get(part, start.begin[part]) < end for part, end in start.offsets.items())
    if not waiting and not directory.checkpoint.pending:
        summary = StreamSummary(start.topic_id, start.offsets)
        summary.open_transaction = open_transaction(context, start, timeout_s=5)
        summary.duration_s = time.monotonic() - started
        return summary
    return _run(spark, directory, start, lambda: model, started)


def process_until(
    spark: "SparkSession",
    context: StreamContext,
    model: Callable[[], Model],
    out: Path,
    stop: threading.Event,
) -> StreamSummary:
    """Answer requests as they come until `stop` is set; the current micro-batch is finished then.

    Returns by itself after `renew_after_messages`, for the process to be replaced. Arguments and
    errors are those of `process_available`, but the topic of requests is created too, and `model`
    is asked for the model before each micro-batch.
    """
    started = time.monotonic()
    ensure_topics(context.kafka, [context.topics.requests])
    directory, start = _open(context, out)
    return _run(spark, directory, start, model, started, stop)


def _open(context: StreamContext, out: Path) -> tuple[StreamDirectory, TopicOffsets]:
    """The directory and the topic, once it is checked that the last run can be continued."""
    start = end_offsets(context.kafka, context.topics.requests, timeout_s=15)
    directory = StreamDirectory(out, start.topic_id, context)
    checkpoint, table = directory.checkpoint, directory.table.path
    if table.exists() and not checkpoint.exists:
        raise ConsumerError(
            f"{table} holds answers, but their checkpoint {checkpoint.path} is gone: put it back, "
            "or move the answers away to have all requests on the topic answered again (what was "
            "published is not published again)"
        )
    reached = checkpoint.reached()
    if error := resume_error(context, reached, start):
        raise DataLossError(error)
    added = start.offsets.keys() - reached.keys()
    if reached and added:
        logger.info(
            "%r has %d more partitions, answered from their beginning; keys may have moved to them",
            checkpoint.topic,
            len(added),
        )
    if directory.earlier_topics():
        logger.warning(
            "topic %r was created again (id %s): it is answered from its beginning. The answers to "
            "the earlier one are kept; what was unanswered on it is gone with it",
            checkpoint.topic,
            start.topic_id,
        )
    return directory, start


def _run(
    spark: "SparkSession",
    directory: StreamDirectory,
    start: TopicOffsets,
    model: Callable[[], Model],
    started: float,
    stop: threading.Event | None = None,
) -> StreamSummary:
    """Run the query, unless another process uses the directory."""
    context, earlier = directory.context, directory.earlier_topics()
    kafka, topics, config = context.kafka, context.topics, context.config
    directory.state.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(directory.state / "lock", blocking=False).acquire()
    except Timeout:
        raise ConsumerError(
            f"another process answers into {directory.out} already (`make stream`, or a run in "
            "Dagster): end it, or let it answer"
        ) from None
    ids = directory.state / "ids.sqlite"
    with (
        lock,
        closing(Publisher(context, start)) as publisher,
        closing(Deduplicator(ids, directory.table)) as deduplicator,
    ):
        ensure_topics(kafka, [topics.responses], dead_letters=topics.dead_letters)
        most = config.max_messages_per_run if stop is None else config.renew_after_messages
        processor = MicroBatchProcessor(directory, model, publisher, deduplicator, most)
        _run_query(spark, directory, processor, stop)
    end = end_offsets(kafka, topics.requests, timeout_s=15)
    summary, reached = processor.summary, directory.checkpoint.reached()
    summary.end_offsets, summary.earlier_topics = reached, earlier
    summary.open_transaction = open_transaction(context, end, timeout_s=5)
    summary.lag = sum(max(0, last - reached.get(part, 0)) for part, last in end.offsets.items())
    summary.duration_s = time.monotonic() - started
    return summary


def _run_query(
    spark: "SparkSession",
    directory: StreamDirectory,
    processor: MicroBatchProcessor,
    stop: threading.Event | None,
) -> None:
    """Hand the requests to the processor; raises its errors, and explains those of Spark."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import StreamingQueryException

    context, query = directory.context, None
    interval = {"processingTime": f"{context.config.trigger_ms} milliseconds"}
    try:
        query = (
            spark.readStream.format("kafka")
            .options(**_SOURCE, **spark_options(context.kafka))
            .option("subscribe", context.topics.requests)
            .option("failOnDataLoss", not context.tolerates_loss)
            .option("maxOffsetsPerTrigger", context.config.max_offsets_per_trigger)
            .load()
            .select(*source_columns())
            .writeStream.foreachBatch(processor)
            # not `Path.as_uri`, which encodes `=`
            .option("checkpointLocation", f"file://{directory.checkpoint.path.absolute()}")
            .trigger(**({"availableNow": True} if stop is None else interval))
            .start()
        )
        if stop is None:
            query.awaitTermination()
        else:
            _wait(query, processor, stop)
    except StreamingQueryException as error:
        if isinstance(processor.error, RunLimitReached):
            return
        if processor.error is not None and not isinstance(processor.error, Py4JError):
            raise processor.error from None  # our own, not Spark's wrapping of it
        raise _explain(error, context) from None  # hides Spark's text, see `redacted`
    except (Py4JError, OSError) as error:
        raise ConsumerError(
            "Spark's JVM has ended while requests were answered (was it killed, or out of "
            "memory?): the next run goes on where this one stopped"
        ) from error
    finally:
        if query is not None:
            with suppress(Py4JError, OSError):  # its JVM may be gone
                query.stop()


def _wait(query: Any, processor: MicroBatchProcessor, stop: threading.Event) -> None:
    """Wait until `stop` is set, and for the last micro-batch."""
    while not stop.is_set():
        if query.awaitTermination(0.2):  # raises what ended it
            return
    processor.close()
    # let Spark commit the last micro-batch: stopping the query would interrupt that
    deadline = time.monotonic() + _COMMIT_S
    while query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(0.01)


def _explain(error: Exception, context: StreamContext) -> Exception:
    text = redacted(context.kafka, str(error))
    if "data may have been lost" in text or "failOnDataLoss" in text:
        return ConsumerError(
            f"messages on {context.topics.requests!r} went away while they were answered; the next "
            "run says which"
        )
    if "org.apache.kafka" in text:
        cause = next((line for line in text.splitlines() if "org.apache.kafka" in line), text)
        return KafkaUnavailable(
            f"Kafka on {context.kafka.bootstrap_servers} failed while requests were answered (what "
            f"was not committed is answered next time): {cause.strip()[:300]}"
        )
    causes = re.findall(r"Caused by: (.*)", text)
    return ConsumerError(f"the stream failed: {(causes[-1] if causes else text)[:1000]}")
