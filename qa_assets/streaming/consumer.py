"""Answers the questions that wait on their topic, with Spark Structured Streaming.

From the checkpoint to the ends of the partitions, in micro-batches; what is done with one is in
`batches`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.streaming.batches import Batches, ConsumerError, uri
from qa_assets.streaming.kafka import KafkaUnavailable, end_offsets, ensure_topics

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from qa_assets.settings import KafkaSettings, StreamSettings

_CLIENT = {"kafka.request.timeout.ms": "15000", "kafka.default.api.timeout.ms": "20000"}


@dataclass(frozen=True)
class StreamSummary:
    """What a run did, and where the checkpoint stands after it."""

    topic_id: str
    end_offsets: dict[int, int]
    """Partition to the first offset that is not dealt with yet."""
    answered: int = 0
    abstained: int = 0
    dead_letters: int = 0
    batches: int = 0
    latency_s: dict[str, float] = field(default_factory=dict)
    """p50, p95 and p99 of the seconds from asked_at to answered_at; empty without answers."""
    duration_s: float = 0.0


def answer_available(
    spark: "SparkSession",
    kafka: "KafkaSettings",
    stream: "StreamSettings",
    answer: Callable[["DataFrame"], "DataFrame"],
    format_source: Callable[["Column", "Column"], "Column"],
    no_answer: str,
    model_version: str,
    out: Path,
) -> StreamSummary:
    """Answer every question that is on the topic now, and return.

    The table `out/table` has the columns id, question, answer (null: abstained), model_version,
    topic_id, topic, partition, offset, asked_at (Kafka's timestamp), answered_at (when its batch
    was done), batch_id and metadata. Messages that cannot be read go to the dead-letter topic
    with their own bytes, and headers that say why and from where.

    Args:
        spark: a session with the Kafka connector.
        kafka: the broker and its topics; those of answers and dead letters are made if missing.
        stream: how large a batch may be.
        answer: adds a text column `answer` to a DataFrame with a text column `source`; keeps the
            other columns and the rows.
        format_source: question and context -> source.
        no_answer: the answer that says that there is none.
        model_version: noted with each answer.
        out: where the table and, for each topic id, the checkpoint lie.

    Raises:
        KafkaUnavailable: the broker does not answer.
        TopicMissing: there is no topic of questions.
        ConsumerError: the checkpoint is gone or unanswered questions are; `answer` drops rows.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import StreamingQueryException

    started = time.monotonic()
    end = end_offsets(kafka, kafka.questions_topic, timeout_s=15)
    checkpoint = out / end.topic_id / "checkpoint"
    table = out / "table" / f"topic_id={end.topic_id}"
    if table.exists() and not (checkpoint / "offsets").exists():
        raise ConsumerError(
            f"{table} holds answers, but their checkpoint {checkpoint} is gone: put it back, or "
            "move the answers away to have all questions on the topic answered again"
        )
    reached, pending = checkpoint_offsets(checkpoint, kafka.questions_topic)
    if not pending and all(reached.get(part, 0) == to for part, to in end.offsets.items()):
        return StreamSummary(end.topic_id, end.offsets, duration_s=time.monotonic() - started)

    ensure_topics(kafka, [kafka.answers_topic, kafka.dead_letter_topic])
    batches = Batches(
        kafka,
        answer,
        format_source,
        no_answer,
        model_version,
        table,
        checkpoint.with_name("staging"),
    )
    query = (
        spark.readStream.format("kafka")
        .options(**_CLIENT)
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers)
        .option("subscribe", kafka.questions_topic)
        .option("startingOffsets", "earliest")
        .option("failOnDataLoss", "true")
        .option("maxOffsetsPerTrigger", stream.max_offsets_per_trigger)
        .option("kafkaConsumer.pollTimeoutMs", "30000")
        .load()
        .writeStream.foreachBatch(batches)
        .option("checkpointLocation", uri(checkpoint))
        .trigger(availableNow=True)
        .start()
    )
    try:
        query.awaitTermination()
    except StreamingQueryException as error:
        if batches.error is not None and not isinstance(batches.error, Py4JError):
            raise batches.error from None  # the model's own error, not Spark's wrapping of it
        raise _explain(error, kafka, checkpoint, table) from error
    finally:
        query.stop()
    reached, _ = checkpoint_offsets(checkpoint, kafka.questions_topic)
    return StreamSummary(
        end.topic_id,
        reached,
        batches.answered,
        batches.abstained,
        batches.dead_letters,
        batches.batches,
        batches.latency_s(),
        time.monotonic() - started,
    )


def checkpoint_offsets(checkpoint: Path, topic: str) -> tuple[dict[int, int], bool]:
    """How far a checkpoint of Spark's has come.

    Returns:
        Partition to the first offset that is not dealt with, empty where there is no checkpoint;
        and whether a batch was begun that is not done.
    """
    begun, done = _log(checkpoint / "offsets"), _log(checkpoint / "commits")
    if not done:
        return {}, bool(begun)
    # a line of version, one of the batch, one a source
    source = (checkpoint / "offsets" / str(max(done))).read_text().splitlines()[2]
    offsets = {int(part): to for part, to in json.loads(source)[topic].items()}
    return offsets, max(begun) > max(done)


def _log(directory: Path) -> list[int]:
    return [int(path.name) for path in directory.glob("*") if path.name.isdigit()]


def _explain(error: Exception, kafka: "KafkaSettings", checkpoint: Path, table: Path) -> Exception:
    text = str(error)
    if "data may have been lost" in text or "failOnDataLoss" in text:
        return ConsumerError(
            f"questions on {kafka.questions_topic!r} that were not answered yet are gone from the "
            "broker (deleted by its retention, or by hand); none was skipped silently. To go on "
            f"with those that are left, move {checkpoint.parent} and {table} away"
        )
    if "org.apache.kafka" in text:
        cause = next((line for line in text.splitlines() if "org.apache.kafka" in line), text)
        return KafkaUnavailable(
            f"Kafka on {kafka.bootstrap_servers} failed while questions were answered (what was "
            f"not committed is answered next time): {cause.strip()[:300]}"
        )
    return ConsumerError(f"the stream failed: {text[:1000]}")
