"""Processes a micro-batch of foreachBatch: read, predict, commit to the table, publish.

A micro-batch is committed by the rename of a directory, and then published in one transaction with
the consumer group's offsets. When it is repeated after a crash, its directory stands for the
model's predictions, and the group's offsets say whether it was published. So table and topics hold
one response for each offset.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qa_assets.core.examples import Prediction
from qa_assets.deployment.serving import PREDICTION, Predictor
from qa_assets.spark import is_local
from qa_assets.streaming.data_loss import record_loss
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import Admin
from qa_assets.streaming.messages import MAX_REQUEST_BYTES, dead_letter, response_message
from qa_assets.streaming.parsing import UnreadableRequestError, read_request
from qa_assets.streaming.publisher import Publisher
from qa_assets.streaming.summary import StreamSummary
from qa_assets.streaming.table import KEY, Deduplicator, to_prediction

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_FEW = 16  # requests that are not worth a Spark job


class ConsumerError(RuntimeError):
    """Requests cannot be answered; the message says why and what to do."""


class RunLimitReached(Exception):  # noqa: N818
    """The run ends before this micro-batch, which the next run processes."""


@dataclass(frozen=True)
class Model:
    """A model that serves.

    Attributes:
        version: recorded with each response.
        predictor: gets a request's id with the task's inputs where it predicts a frame.
    """

    version: str
    predictor: Predictor


def source_columns() -> "list[Column]":
    """What the processor reads of Spark's Kafka source."""
    from pyspark.sql import functions as sf

    return [
        *(sf.col(name) for name in ("key", "headers", "topic", "partition", "offset", "value")),
        # of a message that is too large, enough to see that it is
        sf.substring("value", 1, MAX_REQUEST_BYTES + 1).alias("start"),
        sf.unix_micros("timestamp").alias("asked_at"),
    ]


class MicroBatchProcessor:
    """The function of foreachBatch."""

    def __init__(
        self,
        directory: StreamDirectory,
        model: Callable[[], Model],
        publisher: Publisher,
        deduplicator: Deduplicator,
        max_messages: int,
    ) -> None:
        """No other process may use the directory meanwhile.

        Before each micro-batch, `model` returns the model. None is begun after `max_messages`.
        """
        self._directory, self._context = directory, directory.context
        self._model, self._publisher, self._max_messages = model, publisher, max_messages
        self._table, self._staging = directory.table, directory.state / "staging" / uuid4().hex
        self._deduplicator = deduplicator
        self._admin = Admin(directory.context.kafka)
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
        span = self._directory.checkpoint.span(batch_id)
        lost = record_loss(self._directory, self._admin, batch_id, span, self._published)
        self.summary.lost += lost
        messages = self._read(batch)
        if self._table.has_batch(batch_id):
            rows = self._table.read_batch(batch_id)
        else:
            rows = self._table.write_batch(batch_id, self._predict(batch, messages), self._staging)
        answered = set(map(_position, rows))
        # if the rules changed since a crash, what the table holds stays a response, and every
        # other message is a dead letter
        rejected = [message for message in messages if _position(message) not in answered]
        # never backwards: where the table was moved away, more may have been published before
        published = self._published
        ends = {part: max(end, published.get(part, 0)) for part, (_, end) in span.items()}
        if not ends.items() <= published.items():
            self._publisher.publish(lambda: self._outgoing(batch, rows, rejected), ends)
            self._published = published | ends
        self.summary.add(rows, [message["reason"] for message in rejected])

    def _read(self, batch: "DataFrame") -> list[dict[str, Any]]:
        """The messages by position, each with its `request`, or the `reason` why it is none."""
        rows = batch.drop("value").collect()
        messages = []
        for row in sorted(rows, key=_position):
            message = {**row.asDict(), "request": None, "reason": None}
            try:
                message["request"] = read_request(self._context.schemas, message["start"])
            except UnreadableRequestError as error:
                message["reason"] = str(error)
            messages.append(message)
        return messages

    def _outgoing(
        self, batch: "DataFrame", rows: list[dict[str, Any]], rejected: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Responses and dead letters, without those that were published before a crash."""
        topics = self._context.topics

        def unpublished(row: Any) -> bool:
            return bool(row["offset"] >= self._published.get(row["partition"], 0))

        for row in filter(unpublished, rows):
            yield response_message(self._context.schemas, topics.responses, row)
        large = {}
        for message in filter(unpublished, rejected):
            if len(message["start"] or b"") > MAX_REQUEST_BYTES:
                large[_position(message)] = message["reason"]
            else:
                yield dead_letter(topics.dead_letters, message | {"value": message["start"]})
        if large:  # read once more, one at a time
            for row in batch.where(f"length(start) > {MAX_REQUEST_BYTES}").toLocalIterator():
                if _position(row) in large:
                    reason = {"reason": large[_position(row)]}
                    yield dead_letter(topics.dead_letters, row.asDict() | reason)

    def _predict(self, batch: "DataFrame", messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows for the table."""
        task, asked = self._context.task, [message for message in messages if message["request"]]
        if not asked:
            return []
        model, spark = self._model(), batch.sparkSession
        in_driver = model.predictor.in_driver
        # the driver of a local session has all its cores
        if in_driver is not None and (is_local(spark) or len(asked) <= _FEW):
            predictions = in_driver([message["request"].inputs for message in asked])
        else:
            predictions = self._predict_frame(model, spark, asked)
        now = datetime.now(UTC)
        duplicates = self._deduplicator.duplicates(
            [(message["request"].id, *_position(message)) for message in asked]
        )
        rows = []
        for message, predicted in zip(asked, predictions, strict=True):
            prediction, request = predicted or Prediction(""), message["request"]
            rows.append(
                {name: message[name] for name in ("key", "topic", "partition", "offset")}
                | {name: request.inputs[name] for name in task.messages.kept_inputs}
                | task.respond(prediction)
                | {
                    "id": request.id,
                    "metadata": request.metadata,
                    "prediction": None if predicted is None else vars(prediction),
                    "model_version": model.version,
                    "duplicate": _position(message) in duplicates,
                    "asked_at": datetime.fromtimestamp(message["asked_at"] / 1e6, UTC),
                    "answered_at": now,
                    "headers": [header.asDict() for header in message["headers"] or ()],
                }
            )
        return rows

    def _predict_frame(
        self, model: Model, spark: "SparkSession", asked: list[dict[str, Any]]
    ) -> list[Prediction | None]:
        """The predictions for messages, by Spark's executors."""
        import pandas as pd

        names = self._context.task.messages.inputs
        frame = pd.DataFrame(
            [
                {"id": message["request"].id}
                | {name: message["request"].inputs[name] for name in names}
                | {name: message[name] for name in KEY}
                for message in asked
            ]
        )
        predicted = model.predictor.by_spark(spark.createDataFrame(frame))
        rows = predicted.select(*KEY, PREDICTION).collect()
        by_position = {
            _position(row): row[PREDICTION] and to_prediction(row[PREDICTION]) for row in rows
        }
        positions = list(map(_position, asked))
        if len(rows) != len(asked) or by_position.keys() != set(positions):
            raise ConsumerError(
                f"the model got {len(asked)} requests and returned {len(rows)} rows, for "
                f"{len(by_position.keys() & set(positions))} of them: it must keep the rows of its "
                "input"
            )
        return [by_position[position] for position in positions]


def _position(row: Any) -> tuple[int, int]:
    return row["partition"], row["offset"]
