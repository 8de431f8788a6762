"""Processes a micro-batch of foreachBatch: parse, predict, commit to the table, publish.

A micro-batch is committed by the rename of a directory, and then published in one transaction with
the consumer group's offsets. When it is repeated after a crash, its directory stands for the
model's predictions, and the group's offsets say whether it was published. So table and topics hold
one response for each offset.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qa_assets.streaming.data_loss import record_loss
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import Admin
from qa_assets.streaming.messages import dead_letter, response_message
from qa_assets.streaming.parsing import Reader
from qa_assets.streaming.publisher import Publisher
from qa_assets.streaming.summary import StreamSummary
from qa_assets.streaming.table import Deduplicator, to_prediction

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class ConsumerError(RuntimeError):
    """Requests cannot be answered; the message says why and what to do."""


class RunLimitReached(Exception):  # noqa: N818
    """The run ends before this micro-batch, which the next run processes."""


@dataclass(frozen=True)
class Model:
    """A model that serves.

    Attributes:
        version: recorded with each response.
        predict: adds the column `prediction` to a frame that has the task's inputs as text columns,
            and keeps its rows: a struct as in `table.prediction_type`, null where no model was
            asked, its text "" where the model abstains.
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
        max_messages: int,
    ) -> None:
        """Open what a run needs; no other process may use the directory meanwhile.

        Before each micro-batch, `model` returns the model. None is begun after `max_messages`.
        """
        self._directory, self._context = directory, directory.context
        self._model, self._publisher, self._max_messages = model, publisher, max_messages
        self._table, self._staging = directory.table, directory.state / "staging" / uuid4().hex
        self._deduplicator = Deduplicator(directory.state / "ids.sqlite", directory.table)
        self._admin = Admin(directory.context.kafka)
        self._reader = Reader(directory.context.schemas)
        self._published = publisher.published()
        self._busy = threading.Lock()
        self.summary = StreamSummary(directory.topic_id)
        self.error: Exception | None = None

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        """Process a micro-batch; called again with the same id after a crash."""
        try:
            with self._busy:
                if self.summary.messages >= self._max_messages:
                    raise RunLimitReached
                self._process(batch, batch_id)
        except Exception as error:
            self.error = error
            raise

    def close(self) -> None:
        """Begin no other micro-batch, and wait for the current one."""
        self._max_messages = 0
        with self._busy:
            pass

    def _process(self, batch: "DataFrame", batch_id: int) -> None:
        started = time.monotonic()
        span = self._directory.checkpoint.span(batch_id)
        lost = record_loss(self._directory, self._admin, batch_id, span, self._published)
        self.summary.lost += lost
        parsed = self._reader.read(batch).persist()
        try:
            messages = parsed.select("partition", "offset", "reason").collect()
            repeated = self._table.has_batch(batch_id)
            if not repeated:
                requests = {_position(row) for row in messages if row["reason"] is None}
                rows = self._predict(parsed, requests) if requests else []
                self._table.write_batch(batch_id, rows, self._staging)
            rows = self._table.read_batch(batch_id)  # what is published is what the table holds
            answered = set(map(_position, rows))
            reasons = [row["reason"] for row in messages if _position(row) not in answered]
            # if the rules changed since a crash, what the table holds stays a response, and every
            # other message is a dead letter
            rejected = parsed if repeated else parsed.where("reason is not null")
            # never backwards: where the table was moved away, more may have been published before
            published = self._published
            ends = {part: max(end, published.get(part, 0)) for part, (_, end) in span.items()}
            if not ends.items() <= published.items():
                self._publisher.publish(
                    lambda: self._outgoing(rows, rejected if reasons else None), ends
                )
                self._published = published | ends
        finally:
            parsed.unpersist()
        self.summary.add(batch_id, rows, reasons, time.monotonic() - started)

    def _outgoing(
        self, rows: list[dict[str, Any]], rejected: "DataFrame | None"
    ) -> Iterator[dict[str, Any]]:
        """Responses and dead letters, without those that were published before a crash."""
        topics, answered = self._context.topics, set(map(_position, rows))

        def unpublished(row: Any) -> bool:
            return bool(row["offset"] >= self._published.get(row["partition"], 0))

        for row in filter(unpublished, rows):
            yield response_message(self._context.schemas, topics.responses, row)
        if rejected is not None:
            for message in filter(unpublished, rejected.toLocalIterator()):
                if _position(message) not in answered:
                    yield dead_letter(topics.dead_letters, message)

    def _predict(self, parsed: "DataFrame", requests: set[tuple[int, int]]) -> list[dict[str, Any]]:
        """The rows for the table; `requests` are the positions that the model has to answer."""
        from pyspark.sql import functions as sf

        model, messages = self._model(), self._context.task.messages
        cores = parsed.sparkSession.sparkContext.defaultParallelism
        frame = parsed.where("reason is null").select(
            *(f"parsed.{name}" for name in ("id", *messages.inputs, "metadata")), "key", "headers",
            "topic", "partition", "offset", sf.unix_micros("timestamp").alias("asked_at"),
        )  # fmt: skip
        # a few are not worth a shuffle
        spread = frame.repartition(cores) if len(requests) > cores else frame.coalesce(1)
        not_kept = messages.inputs.keys() - set(messages.kept_inputs)
        predicted = model.predict(spread).drop(*not_kept).collect()
        now = datetime.now(UTC)
        positions = list(map(_position, predicted))
        if len(positions) != len(requests) or set(positions) != requests:
            raise ConsumerError(
                f"the model got {len(requests)} requests and returned {len(positions)} rows, for "
                f"{len(set(positions) & requests)} of them: it must keep the rows of its input"
            )
        predicted.sort(key=_position)
        batch = [(row["id"], *_position(row)) for row in predicted]
        duplicates = self._deduplicator.duplicates(batch)
        rows = []
        for row in predicted:
            prediction = to_prediction(row["prediction"])
            changed = {
                **self._context.task.respond(prediction),
                "prediction": None if row["prediction"] is None else vars(prediction),
                "model_version": model.version,
                "duplicate": _position(row) in duplicates,
                "asked_at": datetime.fromtimestamp(row["asked_at"] / 1e6, UTC),
                "answered_at": now,
                "headers": [header.asDict() for header in row["headers"] or ()],
            }
            rows.append(row.asDict() | changed)
        return rows


def _position(row: Any) -> tuple[int, int]:
    return row["partition"], row["offset"]
