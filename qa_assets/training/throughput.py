"""The throughput of a training: counted at every step, logged every few seconds."""

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)
_LOG_SECONDS = 5.0


class Meter:
    """Counts what steps compute, between one point of the history and the next."""

    def __init__(self, world_size: int) -> None:
        """Begin.

        Args:
            world_size: processes that count as much as this one.
        """
        self.world_size = world_size
        self.logged = self.since = time.monotonic()
        self.examples = self.tokens = self.places = 0

    def count(self, batch: "dict[str, torch.Tensor]") -> None:
        """Count a batch of `dataset.Dataset`; tokens are those of sources and targets."""
        self.examples += len(batch["labels"])
        self.tokens += int(batch["attention_mask"].sum() + (batch["labels"] >= 0).sum())
        self.places += batch["attention_mask"].numel() + batch["labels"].numel()

    def pause(self, seconds: float) -> None:
        """Leave the time between steps out of the throughput."""
        self.since += seconds

    def point(
        self, step: int, total: int, loss: float, rate: float, elapsed: float, progress: float
    ) -> dict[str, float]:
        """A point of the history: loss, learning rate, throughput, and the share of padding.

        Throughput and padding are over the steps since the last point.

        Args:
            step: steps taken.
            total: steps of the whole training.
            loss: of a target token.
            rate: the learning rate.
            elapsed: seconds since the training began.
            progress: of the training, from 0 to 1.
        """
        seconds = time.monotonic() - self.since
        point = {
            "step": step,
            "loss": loss,
            "learning_rate": rate,
            "examples_per_second": self.examples * self.world_size / seconds,
            "tokens_per_second": self.tokens * self.world_size / seconds,
            "padding": 1 - self.tokens / self.places,
        }
        if time.monotonic() - self.logged > _LOG_SECONDS or progress >= 1:
            self.logged = time.monotonic()
            logger.info(
                "step %d of %d: loss %.3f, learning rate %.1e, %.0f examples/s, %.0f tokens/s, "
                "%.1f %% padding, %.0f s to go",
                step, total, loss, rate, point["examples_per_second"],
                point["tokens_per_second"], 100 * point["padding"], elapsed * (1 / progress - 1),
            )  # fmt: skip
        self.since = time.monotonic()
        self.examples = self.tokens = self.places = 0
        return point
