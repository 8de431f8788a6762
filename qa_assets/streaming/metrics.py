"""What the batches of a run add up to."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

logger = logging.getLogger(__name__)


class Tally:
    """Counts and times of the batches so far.

    Attributes:
        batches: that were done.
        messages: in them.
        abstained: questions that got no answer.
        duplicates: questions whose id was answered before.
        reasons: dead letters by reason.
        lost: messages that were gone before they were answered.
        latencies: seconds from asked_at to answered_at, by question.
        busy_s: seconds in batches.
    """

    def __init__(self) -> None:
        self.batches = self.messages = self.abstained = self.duplicates = self.lost = 0
        self.reasons: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.busy_s = 0.0

    def add(
        self,
        batch_id: int,
        answers: Sequence[Mapping[str, Any]],
        reasons: Sequence[str],
        lost: int,
        took_s: float,
    ) -> None:
        """Count a batch, and log it."""
        abstained = sum(row["answer"] is None for row in answers)
        self.batches += 1
        self.messages += len(answers) + len(reasons)
        self.abstained += abstained
        self.duplicates += sum(row["duplicate"] for row in answers)
        self.reasons.update(reasons)
        self.lost += lost
        self.latencies += [
            (row["answered_at"] - row["asked_at"]).total_seconds() for row in answers
        ]
        self.busy_s += took_s
        logger.info(
            "batch %d: %d answered, %d abstained, %d dead letters, %.1f s (%.1f/s)",
            batch_id,
            len(answers) - abstained,
            abstained,
            len(reasons),
            took_s,
            (len(answers) + len(reasons)) / took_s,
        )

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
