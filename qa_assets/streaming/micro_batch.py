"""Processes a micro-batch of foreachBatch: parse, predict, commit to the table, publish.

The rows of a micro-batch become visible in the table at once, by the rename of a directory; only
then are they published, in one transaction with the consumer group's offsets. A micro-batch that is
repeated after a crash finds its directory and does not ask the model again; the group's offsets say
whether it was published. So table and topics hold one response for each offset.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qa_assets.streaming.data_loss import DataLossMonitor
from qa_assets.streaming.deduplicator import Deduplicator
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import TopicOffsets
from qa_assets.streaming.metrics import RunMetrics
from qa_assets.streaming.parsing import Reader
from qa_assets.streaming.publisher import OutgoingMessage, Publisher
from qa_assets.streaming.responses import dead_letter, response_message
from qa_assets.streaming.table import to_prediction

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)

_POSITION = ["topic", "partition", "offset"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ConsumerError(RuntimeError):
    """Requests cannot be answered; the message says why and what to do."""


class RunLimitReached(Exception):  # noqa: N818
    """The run ends before this micro-batch, which the next run processes."""


@dataclass(frozen=True)
class Model:
    """A model that serves.

    Attributes:
        version: recorded with each response.
        predict: takes a frame with the task's inputs as text columns, among others; keeps rows and
            columns, and adds `prediction`, a struct as in `table.prediction_type`: null where no
            model was asked, its text "" where the model abstains.
    """

    version: str
    predict: "Callable[[DataFrame], DataFrame]"


class MicroBatchProcessor:
    """The function of foreachBatch."""

    def __init__(
        self,
        directory: StreamDirectory,
        model: Callable[[], Model],
        publisher: Publisher,
        start: TopicOffsets,
        max_messages: int,
    ) -> None:
        """Open what a run needs; nobody else may use the directory meanwhile.

        Args:
            directory: the stream and its files.
            model: asked before each micro-batch for the model that is to predict.
            publisher: of this topic.
            start: the offsets of the topic of requests at the start of the run.
            max_messages: after which no other micro-batch is begun.
        """
        self._directory, self._context = directory, directory.context
        self._model, self._publisher, self._max_messages = model, publisher, max_messages
        self._table, self._staging = directory.table, directory.state / "staging" / uuid4().hex
        self._deduplicator = Deduplicator(directory.state / "ids.sqlite", directory.table)
        self._monitor = DataLossMonitor(directory.context, start, directory.state / "lost")
        self._reader = Reader(directory.context.schemas)
        self._published = publisher.published(start.offsets)
        self._closing = threading.Event()
        self._busy = threading.Lock()
        self.metrics = RunMetrics()
        self.error: Exception | None = None

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        """Process a micro-batch; called again with the same id after a crash."""
        try:
            with self._busy:
                if self._closing.is_set() or self.metrics.messages >= self._max_messages:
                    raise RunLimitReached
                self._process(batch, batch_id)
        except Exception as error:
            self.error = error
            raise

    def close(self) -> None:
        """Begin no other micro-batch, and wait for the one under way."""
        self._closing.set()
        with self._busy:
            pass

    def _process(self, batch: "DataFrame", batch_id: int) -> None:
        started = time.monotonic()
        span = self._directory.checkpoint.span(batch_id)
        lost = self._monitor.check(batch_id, span, self._published)
        parsed = self._reader.read(batch).persist()
        try:
            messages = parsed.select("partition", "offset", "reason").collect()
            repeated = self._table.has_batch(batch_id)
            if not repeated:
                requests = {(row[0], row[1]) for row in messages if row["reason"] is None}
                rows = self._predict(parsed, requests) if requests else []
                self._table.write_batch(batch_id, rows, self._staging)
            rows = self._table.read_batch(batch_id)  # what is published is what the table holds
            answered = {(row["partition"], row["offset"]) for row in rows}
            reasons = [row["reason"] for row in messages if (row[0], row[1]) not in answered]
            # the rules may have changed since a crash: what the table holds stays a response, and
            # every other message is a dead letter
            rejected = parsed if repeated else parsed.where("reason is not null")

            def outgoing() -> Iterator[OutgoingMessage]:
                for row in rows:
                    yield response_message(self._context, row)
                if reasons:
                    for message in rejected.toLocalIterator():
                        if (message["partition"], message["offset"]) not in answered:
                            yield dead_letter(self._context, message)

            self._publish(outgoing, {partition: end for partition, (_, end) in span.items()})
        finally:
            parsed.unpersist()
        self.metrics.add(batch_id, rows, reasons, lost, time.monotonic() - started)

    def _publish(
        self, outgoing: Callable[[], Iterator[OutgoingMessage]], ends: Mapping[int, int]
    ) -> None:
        """Publish what was not published before the crash that this may be the repeat of."""
        published = self._published
        if all(published.get(partition, -1) >= end for partition, end in ends.items()):
            return

        def unpublished() -> Iterator[OutgoingMessage]:
            return (
                message
                for message in outgoing()
                if message.offset >= published.get(message.partition, 0)
            )

        # never backwards: where the table was moved away, more may have been published before
        reached = {
            partition: max(end, published.get(partition, 0)) for partition, end in ends.items()
        }
        self._publisher.publish(unpublished, reached)
        self._published = published | reached

    def _predict(self, parsed: "DataFrame", requests: set[tuple[int, int]]) -> list[dict[str, Any]]:
        """Ask the model; returns the rows for the table.

        Args:
            parsed: the micro-batch.
            requests: partition and offset of those in it.
        """
        from pyspark.sql import functions as sf

        model, messages = self._model(), self._context.task.messages
        cores = parsed.sparkSession.sparkContext.defaultParallelism
        frame = parsed.where("reason is null").select(
            "parsed.id", *(f"parsed.{name}" for name in messages.inputs), *_POSITION,
            sf.unix_micros("timestamp").alias("asked_at"), "parsed.metadata", "key", "headers",
        )  # fmt: skip
        # a few are not worth a shuffle
        spread = frame.repartition(cores) if len(requests) > cores else frame.coalesce(1)
        not_kept = messages.inputs.keys() - set(messages.kept_inputs)
        predicted = model.predict(spread).drop(*not_kept).collect()
        now = datetime.now(UTC)
        positions = [(row["partition"], row["offset"]) for row in predicted]
        if len(positions) != len(requests) or set(positions) != requests:
            raise ConsumerError(
                f"the model got {len(requests)} requests and returned {len(positions)} rows, for "
                f"{len(set(positions) & requests)} of them: it must keep the rows of its input"
            )
        rows = [self._row(row.asDict(), model.version, now) for row in predicted]
        rows.sort(key=lambda row: (row["partition"], row["offset"]))
        duplicates = self._deduplicator.duplicates(
            (row["id"], row["partition"], row["offset"]) for row in rows
        )
        return [
            row | {"duplicate": (row["partition"], row["offset"]) in duplicates} for row in rows
        ]

    def _row(
        self, row: dict[str, Any], model_version: str, answered_at: datetime
    ) -> dict[str, Any]:
        """A row of the table, from a row of the model's frame."""
        task = self._context.task
        headers: Sequence[Any] = row["headers"] or []
        prediction = to_prediction(row["prediction"])
        kept = ("id", *task.messages.kept_inputs, *_POSITION, "metadata", "key")
        return {
            **{name: row[name] for name in kept},
            **task.respond(prediction),
            "prediction": None if row["prediction"] is None else vars(prediction),
            "model_version": model_version,
            "asked_at": _EPOCH + timedelta(microseconds=row["asked_at"]),
            "answered_at": answered_at,
            "headers": [{"key": header["key"], "value": header["value"]} for header in headers],
        }
