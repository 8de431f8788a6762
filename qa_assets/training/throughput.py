"""The throughput of a training, and how much of what is computed is padding."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Meter:
    """Counts what steps compute, from one point of the history to the next."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self._restart()

    def _restart(self) -> None:
        self.since = time.monotonic()
        self.examples = self.tokens = self.places = 0

    def count(self, batch: "dict[str, torch.Tensor]") -> None:
        """Count a batch of `dataset.Dataset`; tokens are those of sources and targets."""
        self.examples += len(batch["labels"])
        self.tokens += int(batch["attention_mask"].sum() + (batch["labels"] >= 0).sum())
        self.places += batch["attention_mask"].numel() + batch["labels"].numel()

    def pause(self, seconds: float) -> None:
        """Leave the time between steps out of the throughput."""
        self.since += seconds

    def read(self) -> dict[str, float]:
        """Throughput of all processes, and the share of padding, since the last call."""
        seconds = time.monotonic() - self.since
        figures = {
            "examples_per_second": self.examples * self.world_size / seconds,
            "tokens_per_second": self.tokens * self.world_size / seconds,
            "padding": 1 - self.tokens / self.places,
        }
        self._restart()
        return figures
