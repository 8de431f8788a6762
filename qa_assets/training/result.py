"""What a training has come to, as it is kept beside its checkpoint."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qa_assets.core import files

RESULT = "training.json"


@dataclass
class TrainingResult:
    """What a training has come to.

    Attributes:
        checkpoint: Hugging Face directory of the best evaluation.
        metrics: of the best evaluation, scores in percent.
        evaluations: the metrics of every evaluation.
        history: points of the loss, see `steps.Stepper.steps`.
        steps: optimiser steps that were taken.
        seconds: of the whole training, evaluations included.
        consumed: SHA-256 over what was learnt from, in its order.
        finished: not, where its time was up and it is to go on later.
        truncated: training sources that were cut.
        windowed: training questions whose context became several windows.
        lost: answers that none of those windows holds whole.
        truncated_targets: answers that were cut.
        shape: all that the training depends on.
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
    shape: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write all of it as JSON, whole or not at all."""
        files.write_json(path, asdict(self) | {"checkpoint": self.checkpoint.name})

    @classmethod
    def read(cls, path: Path) -> "TrainingResult":
        """Read what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {"checkpoint": path.parent / values["checkpoint"]})
