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
        history: points of loss, learning rate and throughput.
        steps: optimiser steps taken.
        seconds: of the whole training, evaluations included.
        consumed: SHA-256 chained over the prompts of every step, in their order.
        finished: False where its time was up, and it will resume later.
        counts: see `dataset.Dataset`.
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
    counts: dict[str, int] = field(default_factory=dict)
    fingerprint: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write all of it as JSON, whole or not at all."""
        files.write_json(path, asdict(self) | {"checkpoint": self.checkpoint.name})

    @classmethod
    def read(cls, path: Path) -> "TrainingResult":
        """Read what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {"checkpoint": path.parent / values["checkpoint"]})
