"""Evaluations during a training: scores on valid, the best model, averaged weights.

When they are due is in `trainer`.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qa_assets.core.examples import Example
from qa_assets.models import base_model
from qa_assets.models.task_model import TaskModel
from qa_assets.training import checkpoint
from qa_assets.training.adapters import Trainee
from qa_assets.training.checkpoint import TrainerState
from qa_assets.training.config import TrainingConfig

logger = logging.getLogger(__name__)
BEST = "checkpoint"
_WEIGHTS = "weights"  # by evaluation, to average


@dataclass(frozen=True)
class Validation:
    """Evaluates a model in training, on rank 0; the best one becomes `out/checkpoint`."""

    config: TrainingConfig
    task_model: TaskModel
    examples: Sequence[Example]
    trainee: Trainee
    out: Path

    def evaluate(self, state: TrainerState, metrics: dict[str, float]) -> None:
        """Add the model's scores to `metrics`, and save the model if it is the best so far."""
        metrics |= self._scores()
        self._keep_best(state, metrics)
        if self.config.average_last > 1:
            path = self._weights(int(metrics["evaluation"]))
            path.parent.mkdir(exist_ok=True)
            with checkpoint.room_for(path.parent):
                checkpoint.write_tensors(dict(self.trainee.trainable), path)

    def evaluate_average(self, state: TrainerState) -> None:
        """Evaluate the mean of the weights at the last evaluations; save it if it is the best.

        The model gets those weights.
        """
        last = len(state.evaluations)
        weights = [
            checkpoint.read_tensors(self._weights(number))
            for number in range(max(1, last - self.config.average_last + 1), last + 1)
        ]
        with torch.no_grad():
            for name, parameter in self.trainee.trainable.items():
                parameter.copy_(torch.stack([tensors[name] for tensors in weights]).mean(0))
        averaged = {"averaged": float(len(weights))}
        metrics = state.evaluations[-1] | averaged | self._scores()
        state.evaluations.append(metrics)
        self._keep_best(state, metrics)

    def clear(self) -> None:
        """Remove the weights that were kept to be averaged."""
        shutil.rmtree(self.out / _WEIGHTS, ignore_errors=True)

    def _weights(self, evaluation: int) -> Path:
        return self.out / _WEIGHTS / f"{evaluation}.safetensors"

    def _scores(self) -> dict[str, float]:
        task_model = self.task_model
        if task_model.model.device.type == "cpu":  # CTranslate2 knows no adapters
            task_model = replace(task_model, model=self.trainee.plain())
        predictions = task_model.predict(self.examples, self.config.predict_options)
        scores = task_model.task.score(self.examples, predictions).figures
        shown = [f"{name} {value:.1f}" for name, value in scores.items() if "total" not in name]
        logger.info("valid: %s", ", ".join(shown))
        return scores

    def _keep_best(self, state: TrainerState, metrics: dict[str, float]) -> None:
        primary = self.task_model.task.metrics.primary
        if metrics[primary] > state.metrics.get(primary, -1):
            state.metrics = metrics
            with checkpoint.room_for(self.out / BEST):
                base_model.save(
                    self.trainee.plain(), self.task_model.tokenizer, self.out / BEST, metrics
                )
