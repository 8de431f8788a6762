"""Counters and latencies of one run."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from qa_assets.streaming.table import to_prediction

logger = logging.getLogger(__name__)


class RunMetrics:
    """Counters and latencies of the micro-batches so far.

    Attributes:
        batches: micro-batches.
        messages: in them.
        abstained: requests on which the model abstained.
        duplicates: requests whose id was answered before.
        reasons: dead letters by reason.
        lost: messages that were deleted before they were answered.
        latencies: seconds from asked_at to answered_at, by request.
    """

    def __init__(self) -> None:
        self.batches = self.messages = self.abstained = self.duplicates = self.lost = 0
        self.reasons: Counter[str] = Counter()
        self.latencies: list[float] = []

    def add(
        self,
        batch_id: int,
        rows: Sequence[Mapping[str, Any]],
        reasons: Sequence[str],
        lost: int,
        took_s: float,
    ) -> None:
        """Count a micro-batch with its rows of the table and its dead letters, and log it."""
        abstained = sum(not to_prediction(row["prediction"]).text for row in rows)
        self.batches += 1
        self.messages += len(rows) + len(reasons)
        self.abstained += abstained
        self.duplicates += sum(row["duplicate"] for row in rows)
        self.reasons.update(reasons)
        self.lost += lost
        self.latencies += [(row["answered_at"] - row["asked_at"]).total_seconds() for row in rows]
        logger.info(
            "batch %d: %d answered, %d abstained, %d dead letters, %.1f s (%.1f/s)",
            batch_id,
            len(rows) - abstained,
            abstained,
            len(reasons),
            took_s,
            (len(rows) + len(reasons)) / took_s,
        )

    @property
    def answered(self) -> int:
        """Requests on which the model did not abstain."""
        return len(self.latencies) - self.abstained

    def latency_s(self) -> dict[str, float]:
        """p50, p95 and p99 of the seconds from asked_at to answered_at; empty without requests."""
        import numpy as np

        return {
            f"p{percent}": round(float(np.percentile(self.latencies, percent)), 3)
            for percent in (50, 95, 99)
            if self.latencies
        }
