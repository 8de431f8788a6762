"""What is done with one micro-batch of questions: answered, put in its place, told.

A batch's answers become visible in the table at once, by the rename of a directory; only then are
they sent, in one transaction with the consumer group's offsets. A batch that is repeated after a
crash finds its directory and does not ask the model again; the group's offsets say whether it was
sent. So table and topics hold one answer for each offset.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.streaming.metrics import Tally
from qa_assets.streaming.parsing import Reader
from qa_assets.streaming.publisher import Outgoing, Publisher
from qa_assets.streaming.responses import answer_message, dead_letter
from qa_assets.streaming.table import read_batch, write_batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from qa_assets.streaming.checkpoint import Checkpoint
    from qa_assets.streaming.config import KafkaSettings
    from qa_assets.streaming.data_loss import Watch
    from qa_assets.streaming.deduplicator import Seen

logger = logging.getLogger(__name__)

_PLACE = ["topic", "partition", "offset"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ConsumerError(RuntimeError):
    """Questions cannot be answered; the message says why and what to do."""


class Enough(Exception):  # noqa: N818
    """The run ends before this batch, which the next run does instead."""


@dataclass(frozen=True)
class Model:
    """What answers."""

    version: str
    """Noted with each answer."""
    answer: "Callable[[DataFrame], DataFrame]"
    """Takes a frame with string columns `question` and `context`, among others; keeps rows and
    columns, and adds `answer` (null: abstained) and `confidence` (0..1, or null)."""


class Batches:
    """The function of foreachBatch."""

    def __init__(
        self,
        kafka: "KafkaSettings",
        model: Callable[[], Model],
        checkpoint: "Checkpoint",
        table: Path,
        staging: Path,
        seen: "Seen",
        publisher: Publisher,
        watch: "Watch",
        most: int | None,
    ) -> None:
        """Take what a run needs.

        Args:
            kafka: the topics.
            model: asked before each batch for the model that is to answer it.
            checkpoint: that of the query.
            table: the directory of the topic's part of the table.
            staging: a directory of this run on the same disk, for what is half-written.
            seen: the ids that were answered before.
            publisher: sends.
            watch: looks at the topic before each batch.
            most: messages after which no other batch is begun.
        """
        self._kafka, self._model, self._checkpoint = kafka, model, checkpoint
        self._table, self._staging = table, staging
        self._seen, self._publisher, self._watch = seen, publisher, watch
        self._most = most
        self._reader = Reader()
        self._told = publisher.told(watch.partitions)
        self._closing = threading.Event()
        self._busy = threading.Lock()
        self.tally = Tally()
        self.error: Exception | None = None

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        """Deal with one micro-batch; called again with the same id after a crash."""
        try:
            with self._busy:
                if self._closing.is_set() or self._tally_is_full():
                    raise Enough
                self._run(batch, batch_id)
        except Exception as error:
            self.error = error
            raise

    def close(self) -> None:
        """Begin no other batch, and wait for the one under way."""
        self._closing.set()
        with self._busy:
            pass

    def _tally_is_full(self) -> bool:
        return self._most is not None and self.tally.messages >= self._most

    def _run(self, batch: "DataFrame", batch_id: int) -> None:
        started = time.monotonic()
        span = self._checkpoint.span(batch_id)
        lost = self._watch.look(batch_id, span, self._told)
        parsed = self._reader.read(batch).persist()
        place = self._table / f"batch_id={batch_id}"
        try:
            found = parsed.select("partition", "offset", "reason").collect()
            repeated = place.exists()
            if not repeated:
                asked = {(row[0], row[1]) for row in found if row["reason"] is None}
                rows = self._answered(parsed, asked) if asked else []
                write_batch(place, rows, self._staging)
            answers = read_batch(place)  # what is told is what the table holds
            answered = {(row["partition"], row["offset"]) for row in answers}
            reasons = [row["reason"] for row in found if (row[0], row[1]) not in answered]
            # what made a letter may have changed since a crash, but not what was answered then
            dead = parsed if repeated else parsed.where("reason is not null")

            def messages() -> Iterator[Outgoing]:
                for row in answers:
                    yield answer_message(self._kafka, row)
                if reasons:
                    for letter in dead.toLocalIterator():
                        if (letter["partition"], letter["offset"]) not in answered:
                            yield dead_letter(self._kafka, letter)

            self._send(messages, {partition: end for partition, (_, end) in span.items()})
        finally:
            parsed.unpersist()
        took = time.monotonic() - started
        self.tally.add(batch_id, answers, reasons, lost, took)

    def _send(self, messages: Callable[[], Iterator[Outgoing]], ends: Mapping[int, int]) -> None:
        """Send what was not sent before the crash that this may be the repeat of."""
        told = self._told
        if all(told.get(partition, -1) >= end for partition, end in ends.items()):
            return

        def untold() -> Iterator[Outgoing]:
            return (one for one in messages() if one.offset >= told.get(one.partition, 0))

        # never backwards: where the table is made anew, others were told of more before
        now = {partition: max(end, told.get(partition, 0)) for partition, end in ends.items()}
        self._publisher.send(untold, now)
        self._told = told | now

    def _answered(self, parsed: "DataFrame", asked: set[tuple[int, int]]) -> list[dict[str, Any]]:
        """Ask the model; the rows for the table."""
        from pyspark.sql import functions as sf

        model = self._model()
        cores = parsed.sparkSession.sparkContext.defaultParallelism
        questions = parsed.where("reason is null").select(
            "parsed.id", "parsed.question", "parsed.context", *_PLACE,
            sf.unix_micros("timestamp").alias("asked_at"), "parsed.metadata", "key", "headers",
        )  # fmt: skip
        # a few are not worth a shuffle
        spread = questions.repartition(cores) if len(asked) > cores else questions.coalesce(1)
        found = model.answer(spread).drop("context").collect()
        now = datetime.now(UTC)
        told = [(row["partition"], row["offset"]) for row in found]
        if len(told) != len(asked) or set(told) != asked:
            raise ConsumerError(
                f"the model was asked {len(asked)} questions and gave {len(told)} rows, for "
                f"{len(set(told) & asked)} of them: it must keep the rows that it is given"
            )
        rows = [_row(row.asDict(), model.version, now) for row in found]
        rows.sort(key=lambda row: (row["partition"], row["offset"]))
        twice = self._seen.duplicates((row["id"], row["partition"], row["offset"]) for row in rows)
        return [row | {"duplicate": (row["partition"], row["offset"]) in twice} for row in rows]


def _row(row: dict[str, Any], model_version: str, answered_at: datetime) -> dict[str, Any]:
    """A row of the table, from one that the model gave."""
    confidence: float | None = row["confidence"]
    headers: Sequence[Any] = row["headers"] or []
    return {name: row[name] for name in ("id", "question", *_PLACE)} | {
        "answer": (row["answer"] or "").strip() or None,
        "confidence": None if confidence is None or math.isnan(confidence) else confidence,
        "model_version": model_version,
        "asked_at": _EPOCH + timedelta(microseconds=row["asked_at"]),
        "answered_at": answered_at,
        "metadata": None if row["metadata"] is None else list(row["metadata"].items()),
        "key": row["key"],
        "headers": [{"key": one["key"], "value": one["value"]} for one in headers],
    }
