"""Answers the questions that wait on their topic, with Spark Structured Streaming.

A batch's answers become visible in the table at once, by the rename of a directory; only then are
they sent. A batch that is repeated after a crash finds its directory and sends it again without
asking the model: the table holds each offset exactly once, the topics at least once.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.streaming.kafka import KafkaUnavailable, end_offsets, ensure_topics
from qa_assets.streaming.messages import parse_question, why_dead

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from qa_assets.settings import KafkaSettings, StreamSettings

logger = logging.getLogger(__name__)

_SOURCE = ["id", "question", "source", "topic", "partition", "offset", "asked_at", "metadata"]
_FILE = (
    "id string, question string, answer string, model_version string, topic string, "
    "partition int, offset bigint, asked_at timestamp, answered_at timestamp, "
    "metadata map<string,string>"
)
_ISO = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"
_CLIENT = {"kafka.request.timeout.ms": "15000", "kafka.default.api.timeout.ms": "20000"}


class ConsumerError(RuntimeError):
    """The stream cannot go on; the message says why and what to do."""


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
    batches = _Batches(
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
        .option("checkpointLocation", _uri(checkpoint))
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
    return batches.summary(end.topic_id, reached, time.monotonic() - started)


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


def _uri(path: Path) -> str:
    """A path as Hadoop reads it: `Path.as_uri` would encode the `=` of a partition."""
    return f"file://{path.absolute()}"


def _log(directory: Path) -> list[int]:
    return [int(path.name) for path in directory.glob("*") if path.name.isdigit()]


class _Batches:
    """The function of foreachBatch, and what its calls add up to."""

    def __init__(
        self,
        kafka: "KafkaSettings",
        answer: Callable[["DataFrame"], "DataFrame"],
        format_source: Callable[["Column", "Column"], "Column"],
        no_answer: str,
        model_version: str,
        table: Path,
        staging: Path,
    ) -> None:
        self.kafka = kafka
        self.answer = answer
        self.format_source = format_source
        self.no_answer = no_answer
        self.model_version = model_version
        self.table = table
        self.staging = staging
        self.error: Exception | None = None
        self.batches = self.abstained = self.dead_letters = 0
        self.latencies: list[float] = []

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        try:
            self._run(batch, batch_id)
        except Exception as error:
            self.error = error
            raise

    def summary(self, topic_id: str, reached: dict[int, int], duration_s: float) -> StreamSummary:
        import numpy as np

        latency_s = {
            f"p{percent}": round(float(np.percentile(self.latencies, percent)), 3)
            for percent in (50, 95, 99)
            if self.latencies
        }
        answered = len(self.latencies) - self.abstained
        return StreamSummary(
            topic_id,
            reached,
            answered,
            self.abstained,
            self.dead_letters,
            self.batches,
            latency_s,
            duration_s,
        )

    def _run(self, batch: "DataFrame", batch_id: int) -> None:
        from pyspark.sql import functions as sf

        started = time.monotonic()
        parsed = batch.withColumn("parsed", parse_question(sf.col("value")))
        parsed = parsed.withColumn("reason", why_dead(sf.col("value"), sf.col("parsed"))).persist()
        place = self.table / f"batch_id={batch_id}"
        try:
            letters, messages = parsed.select(sf.count("reason"), sf.count("*")).collect()[0]
            if not place.exists():  # else it is a repeat, after a crash
                self._write(parsed.where("reason is null"), messages - letters, place)
            answers = batch.sparkSession.read.schema(_FILE).parquet(_uri(place))
            self._send(answers, parsed.where("reason is not null"))
            seconds = sf.col("answered_at").cast("double") - sf.col("asked_at").cast("double")
            rows = answers.select(seconds, sf.col("answer").isNull()).collect()
        finally:
            parsed.unpersist()
        abstained = sum(row[1] for row in rows)
        self.batches += 1
        self.abstained += abstained
        self.dead_letters += letters
        self.latencies += [row[0] for row in rows]
        took = time.monotonic() - started
        logger.info(
            "batch %d: %d answered, %d abstained, %d dead letters, %.1f s (%.1f/s)",
            batch_id,
            len(rows) - abstained,
            abstained,
            letters,
            took,
            (len(rows) + letters) / took,
        )

    def _write(self, good: "DataFrame", asked: int, place: Path) -> None:
        """Answer the readable messages of a batch and put them in their place in the table."""
        from pyspark.sql import functions as sf

        source = self.format_source(sf.col("parsed.question"), sf.col("parsed.context"))
        questions = good.select(
            "parsed.id", "parsed.question", source.alias("source"), "topic", "partition", "offset",
            sf.col("timestamp").alias("asked_at"), "parsed.metadata",
        ).repartition(good.sparkSession.sparkContext.defaultParallelism)  # fmt: skip
        answers = self.answer(questions).select(*_SOURCE, "answer").persist()
        try:
            told = answers.count()
            if asked != told:
                raise ConsumerError(f"the model was asked {asked} questions and gave {told} rows")
            said = sf.trim("answer")
            staged = self.staging / place.name
            answers.select(
                "id",
                "question",
                sf.when(~said.isin("", self.no_answer), said).alias("answer"),
                sf.lit(self.model_version).alias("model_version"),
                "topic", "partition", "offset", "asked_at",
                sf.lit(datetime.now(UTC)).alias("answered_at"),
                "metadata",
            ).write.mode("overwrite").parquet(_uri(staged))  # fmt: skip
        finally:
            answers.unpersist()
        place.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(place)
        shutil.rmtree(self.staging)

    def _send(self, answers: "DataFrame", dead: "DataFrame") -> None:
        """Send answers and dead letters to their topics."""
        from pyspark.sql import functions as sf

        header_type = "array<struct<key:string,value:binary>>"
        message = sf.to_json(
            sf.struct("id", "answer", "model_version", "topic", "partition", "offset",
                     "asked_at", "answered_at"),
            {"ignoreNullFields": "false", "timestampFormat": _ISO},
        )  # fmt: skip
        told = answers.select(
            sf.lit(self.kafka.answers_topic).alias("topic"),
            sf.col("id").cast("binary").alias("key"),
            message.cast("binary").alias("value"),
            sf.lit(None).cast(header_type).alias("headers"),
        )
        headers = [
            sf.struct(
                sf.lit(name).alias("key"), sf.col(name).cast("string").cast("binary").alias("value")
            )
            for name in ("reason", "topic", "partition", "offset")
        ]
        letters = dead.select(
            sf.lit(self.kafka.dead_letter_topic).alias("topic"),
            "key",
            "value",
            sf.array(*headers).cast(header_type).alias("headers"),
        )
        (
            told.unionByName(letters)
            .write.format("kafka")
            .option("kafka.bootstrap.servers", self.kafka.bootstrap_servers)
            .option("kafka.max.block.ms", "20000")
            .option("kafka.request.timeout.ms", "15000")
            .option("kafka.delivery.timeout.ms", "30000")
            .option("includeHeaders", "true")
            .save()
        )


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
