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
        import pandas as pd

        rows = [
            {"trial": name_of(row), "status": row.status.lower()}
            | row.config
            | (row.last_result or {})
            for row in trials
        ]
        columns = ["trial", "status", *self.searched, "evaluation", "loss", self.metric]
        table = pd.DataFrame(rows, columns=columns).sort_values(self.metric, ascending=False)
        logger.info(
            "trials:\n%s", table.to_string(index=False, na_rep="", float_format="{:.4g}".format)
        )


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
