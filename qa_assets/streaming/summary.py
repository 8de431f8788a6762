"""Counters and latencies of one run of the consumer."""

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from qa_assets.streaming.table import to_prediction
from qa_assets.streaming.transactions import OpenTransaction

logger = logging.getLogger(__name__)
_LOG_S = 2.0


@dataclass
class StreamSummary:
    """What a run did, and where the stream stands after it."""

    topic_id: str
    end_offsets: dict[int, int] = field(default_factory=dict)
    """Partition to the first offset that is not answered yet."""
    lag: int = 0
    """Messages that could be read at the end of the run and are not answered."""
    open_transaction: OpenTransaction | None = None
    """What waited at the end of the run for a producer to end its transaction."""
    messages: int = 0
    abstained: int = 0
    duplicates: int = 0
    """Requests whose id was answered before."""
    dead_letters: Counter[str] = field(default_factory=Counter)
    """By reason."""
    lost: int = 0
    """Messages that were deleted before they were answered."""
    batches: int = 0
    latencies: list[float] = field(default_factory=list, repr=False)
    """Seconds from asked_at to answered_at, by request."""
    duration_s: float = 0.0
    _logged: float = field(default_factory=time.monotonic, repr=False)
    earlier_topics: tuple[str, ...] = ()
    """Ids of earlier topics of this name, in the first run on a topic that was created again."""

    @property
    def answered(self) -> int:
        """Requests on which the model did not abstain."""
        return len(self.latencies) - self.abstained

    @property
    def latency_s(self) -> dict[str, float]:
        """p50, p95 and p99 of the latencies; empty without requests."""
        import numpy as np

        return {
            f"p{percent}": round(float(np.percentile(self.latencies, percent)), 3)
            for percent in (50, 95, 99)
            if self.latencies
        }

    @property
    def messages_per_s(self) -> float:
        """Throughput of the run, its start included."""
        return self.messages / self.duration_s if self.duration_s else 0.0

    def add(self, rows: list[dict[str, Any]], reasons: list[str]) -> None:
        """Count a micro-batch with its rows of the table and its dead letters."""
        self.batches += 1
        self.messages += len(rows) + len(reasons)
        self.abstained += sum(not to_prediction(row["prediction"]).text for row in rows)
        self.duplicates += sum(row["duplicate"] for row in rows)
        self.dead_letters.update(reasons)
        self.latencies += [(row["answered_at"] - row["asked_at"]).total_seconds() for row in rows]
        if time.monotonic() - self._logged > _LOG_S:
            self._logged = time.monotonic()
            logger.info(
                "so far %d messages in %d batches: %d answered, %d abstained, %d dead letters",
                self.messages, self.batches, self.answered, self.abstained,
                self.dead_letters.total(),
            )  # fmt: skip
