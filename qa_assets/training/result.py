"""The result of a training, as `training.json` beside its checkpoint holds it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qa_assets.core import files

RESULT = "training.json"


@dataclass
class TrainingResult:
    """The outcome of a training.

    Attributes:
        checkpoint: Hugging Face directory of the best evaluation.
        metrics: of the best evaluation, scores in percent.
        evaluations: the metrics of every evaluation.
        history: points of the loss, see `throughput.Meter.point`.
        steps: optimiser steps taken.
        seconds: of the whole training, evaluations included.
        consumed: SHA-256 chained over the prompts of every step, in their order.
        finished: False where its time was up, and it will resume later.
        truncated: see `dataset.Dataset.counts`, like the next three.
        windowed: examples that became several windows.
        lost: those of them whose windows hold no reference.
        truncated_targets: targets that were cut.
        fingerprint: all that the trained weights depend on.
    """

    checkpoint: Path
    metrics: dict[str, float] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    consumed: str = ""
    finished: bool = True
    truncated: int = 0
    windowed: int = 0
    lost: int = 0
    truncated_targets: int = 0
    fingerprint: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write all of it as JSON, whole or not at all."""
        files.write_json(path, asdict(self) | {"checkpoint": self.checkpoint.name})

    @classmethod
    def read(cls, path: Path) -> "TrainingResult":
        """Read what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {"checkpoint": path.parent / values["checkpoint"]})
