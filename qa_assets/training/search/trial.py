"""One trial of the search, as it runs on Ray: a Ray Train run around the training loop.

Every trial writes its checkpoint straight to where it is to stay; Ray is told metrics only, so that
no weights are copied. A trial that is started again goes on from its last checkpoint.
"""

import logging
from dataclasses import dataclass
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any

from qa_assets.training import loop
from qa_assets.training.config import TrainingConfig
from qa_assets.training.run import Score

_log = logging.getLogger(__name__)
ERROR = "error.txt"
STOP = "stop"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """What all trials have in common.

    `out` holds a directory of each below `trials`; `how` is `TrainingConfig.how` of now, where Tune
    goes on with the rest of the configuration as the search began with it.
    """

    base: str
    train_rows: Path
    valid_rows: Path
    out: Path
    score: Score
    null_text: str
    workers: int
    use_gpu: bool
    cpus_per_worker: int
    cache: Path | None
    log: Any
    how: dict[str, Any]

    def directory(self, trial: str) -> Path:
        """Where a trial trains."""
        return directory(self.out, trial)


def directory(out: Path, trial: str) -> Path:
    """Where a trial of a search trains."""
    return out / "trials" / trial


def name_of(trial: Any) -> str:
    """What a trial of Ray Tune is called: the same in a search that is restored."""
    return f"trial_{trial.trial_id.rsplit('_', 1)[-1]}"


def run(config: dict[str, Any], job: Job) -> None:
    """Run a trial of Ray Tune; workers that are killed begin again, from the last checkpoint."""
    from ray import tune

    name = tune.get_context().get_trial_name()
    error = job.directory(name) / ERROR
    error.unlink(missing_ok=True)
    for attempt in range(_ATTEMPTS):
        try:
            _fit(config, job, name, f"{name}-{attempt}")
            return
        except Exception:
            # what a worker could still explain would happen again
            if error.exists() or attempt + 1 == _ATTEMPTS:
                raise
            _log.warning("%s: a worker is gone; the trial goes on with another", name)


def _fit(config: dict[str, Any], job: Job, name: str, run_name: str) -> None:
    """A Ray Train run that reports to the trial."""
    from ray import train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources: dict[str, float] = {"CPU": job.cpus_per_worker}
    if job.use_gpu:
        resources["GPU"] = 1
    TorchTrainer(
        _worker,
        train_loop_config={"config": config, "job": job, "name": name},
        scaling_config=train.ScalingConfig(
            num_workers=job.workers, use_gpu=job.use_gpu, resources_per_worker=resources
        ),
        run_config=train.RunConfig(
            name=run_name,
            storage_path=str((job.out / ".ray").absolute()),
            callbacks=[TuneReportCallback()],
            # a trial that cannot be placed fails again
            failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    ).fit()


def _worker(arguments: dict[str, Any]) -> None:
    """One worker of Ray Train: the loop, reporting to Ray."""
    import ray.train

    context = ray.train.get_context()
    job: Job = arguments["job"]
    out = job.directory(arguments["name"])
    if context.get_world_rank() == 0:  # the others would say the same
        handler = QueueHandler(job.log)
        handler.setFormatter(logging.Formatter(f"{out.name}: %(message)s"))
        logging.basicConfig(handlers=[handler], force=True)
        logging.getLogger("qa_assets").setLevel(logging.INFO)
    reported = []

    def report(metrics: dict[str, float], _: Path | None) -> None:
        reported.append(metrics)
        ray.train.report(metrics)

    try:
        result = loop.train(
            TrainingConfig(**arguments["config"] | job.how),
            job.base,
            job.train_rows,
            job.valid_rows,
            out,
            score=job.score,
            null_text=job.null_text,
            report=report,
            stop=(out / STOP).exists,
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            cache=job.cache,
        )
    except Exception as error:
        out.mkdir(parents=True, exist_ok=True)
        (out / ERROR).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        raise
    if not reported:  # it had finished before it was started again
        ray.train.report(result.metrics if context.get_world_rank() == 0 else {})
