"""Callbacks of Ray Tune: a table of the trials in the log, their curves in MLflow."""

import logging
from pathlib import Path
from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback  # noqa: TID253 - subclassed
from ray.tune import Callback  # noqa: TID253

from qa_assets.training.result import RESULT, TrainingResult
from qa_assets.training.search.trial import name_of

logger = logging.getLogger(__name__)
_BATCH = 1000  # metrics that MLflow takes at once


class Table(Callback):  # type: ignore[misc]
    """Logs a table of the trials at every report: their hyperparameters, the best first."""

    def __init__(self, searched: list[str], metric: str) -> None:
        self.searched, self.metric = searched, metric

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called by Ray Tune."""
        shown = [*self.searched, "evaluation", "loss", self.metric]
        rows = []
        for row in sorted(trials, key=self._score, reverse=True):
            values = row.config | (row.last_result or {})
            cells = [_cell(values.get(name, "")) for name in shown]
            rows.append([name_of(row), row.status.lower(), *cells])
        head = ["trial", "status", *shown]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in [head, *rows]
        ]
        logger.info("trials:\n%s", "\n".join(lines))

    def _score(self, trial: Any) -> float:
        return float((trial.last_result or {}).get(self.metric, -1))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Curves(MLflowLoggerCallback):  # type: ignore[misc]
    """A run in MLflow for every trial, with the curves of loss, learning rate and throughput."""

    def __init__(self, directory: Path, tracking_uri: str, experiment: str) -> None:
        super().__init__(tracking_uri, experiment_name=experiment)
        self.directory, self.uri = directory, tracking_uri

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Called by Ray Tune."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        path = self.directory / name_of(trial) / RESULT
        if path.exists():
            metrics = [
                Metric(f"training/{name}", value, 0, int(point["step"]))
                for point in TrainingResult.read(path).history
                for name, value in point.items()
                if name != "step"
            ]
            client = MlflowClient(self.uri)
            for start in range(0, len(metrics), _BATCH):
                client.log_batch(self._trial_runs[trial], metrics[start : start + _BATCH])
        super().log_trial_end(trial, failed)
