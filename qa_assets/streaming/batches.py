"""What is done with one micro-batch of questions: answered, put in its place, sent.

A batch's answers become visible in the table at once, by the rename of a directory; only then are
they sent. A batch that is repeated after a crash finds its directory and sends it again without
asking the model: the table holds each offset exactly once, the topics at least once.
"""

import logging
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.streaming.messages import parse_question, why_dead

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from qa_assets.settings import KafkaSettings

logger = logging.getLogger(__name__)

_SOURCE = ["id", "question", "source", "topic", "partition", "offset", "asked_at", "metadata"]
_FILE = (
    "id string, question string, answer string, model_version string, topic string, "
    "partition int, offset bigint, asked_at timestamp, answered_at timestamp, "
    "metadata map<string,string>"
)
_ISO = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"


class ConsumerError(RuntimeError):
    """Questions cannot be answered; the message says why and what to do."""


def uri(path: Path) -> str:
    """A path as Hadoop reads it: `Path.as_uri` would encode the `=` of a partition."""
    return f"file://{path.absolute()}"


class Batches:
    """The function of foreachBatch, and what its calls add up to.

    Attributes:
        error: what the last call raised.
        batches: that were done.
        abstained: questions that got no answer.
        dead_letters: messages that could not be read.
        latencies: seconds from asked_at to answered_at, by question.
    """

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
        """Take what `consumer.answer_available` was given.

        Args:
            kafka: see there, like the next four.
            answer: see there.
            format_source: see there.
            no_answer: see there.
            model_version: see there.
            table: the directory of the topic's part of the table.
            staging: a directory on the same disk, for what is half-written.
        """
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
        """Deal with one micro-batch; called again with the same id after a crash."""
        try:
            self._run(batch, batch_id)
        except Exception as error:
            self.error = error
            raise

    @property
    def answered(self) -> int:
        """Questions that got an answer and no abstention."""
        return len(self.latencies) - self.abstained

    def latency_s(self) -> dict[str, float]:
        """p50, p95 and p99 of the seconds from asked_at to answered_at; empty without answers."""
        import numpy as np

        return {
            f"p{percent}": round(float(np.percentile(self.latencies, percent)), 3)
            for percent in (50, 95, 99)
            if self.latencies
        }

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
            answers = batch.sparkSession.read.schema(_FILE).parquet(uri(place))
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
            ).write.mode("overwrite").parquet(uri(staged))  # fmt: skip
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
