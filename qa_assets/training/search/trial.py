"""One trial of a search, as it runs on Ray: a Ray Train run around `trainer.train`.

A trial writes its checkpoint where it stays, and reports only metrics to Ray, so that no weights
are copied. A trial that is started again resumes from its last checkpoint.
"""

import logging
from dataclasses import dataclass
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any

from qa_assets.training.config import RayConfig, TrainingConfig
from qa_assets.training.trainer import TrainingInputs, train

logger = logging.getLogger(__name__)
ERROR = "error.txt"
STOP = "stop"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Job:
    """What the trials of a search share.

    Attributes:
        inputs: task, base model and data.
        out: directory of the search.
        ray: the workers of a trial.
        cpus_per_worker: of the cluster.
        cache: directory to keep token ids in.
        log: Ray's queue for log records.
        runtime_options: of `TrainingConfig`; Ray Tune resumes a search with the old ones.
    """

    inputs: TrainingInputs
    out: Path
    ray: RayConfig
    cpus_per_worker: int
    cache: Path | None
    log: Any
    runtime_options: dict[str, Any]

    def directory(self, trial: str) -> Path:
        """Where a trial trains."""
        return directory(self.out, trial)


def directory(out: Path, trial: str) -> Path:
    """Where a trial of a search trains."""
    return out / "trials" / trial


def name_of(trial: Any) -> str:
    """The name of a trial of Ray Tune, the same in a search that is resumed."""
    return f"trial_{trial.trial_id.rsplit('_', 1)[-1]}"


def run(config: dict[str, Any], job: Job) -> None:
    """Run a trial of Ray Tune; killed workers are started again, from the last checkpoint."""
    from ray import tune

    name = tune.get_context().get_trial_name()
    error = job.directory(name) / ERROR
    error.unlink(missing_ok=True)
    for attempt in range(_ATTEMPTS):
        try:
            _fit(config, job, name, f"{name}-{attempt}")
            return
        except Exception:
            # what the worker itself reported would fail again
            if error.exists() or attempt + 1 == _ATTEMPTS:
                raise
            logger.warning("%s: a worker was killed; the trial goes on with another", name)


def _fit(config: dict[str, Any], job: Job, name: str, run_name: str) -> None:
    """A Ray Train run that reports to the trial."""
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources: dict[str, float] = {"CPU": job.cpus_per_worker}
    if job.ray.use_gpu:
        resources["GPU"] = 1
    TorchTrainer(
        _worker,
        train_loop_config={"config": config, "job": job, "name": name},
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.ray.workers,
            use_gpu=job.ray.use_gpu,
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=run_name,
            storage_path=str((job.out / ".ray").absolute()),
            callbacks=[TuneReportCallback()],
            # a trial that cannot be placed would fail again
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    ).fit()


def _worker(arguments: dict[str, Any]) -> None:
    """One worker of Ray Train: trains, and reports to Ray."""
    import ray.train

    context = ray.train.get_context()
    job: Job = arguments["job"]
    out = job.directory(arguments["name"])
    if context.get_world_rank() == 0:  # the others would log the same
        handler = QueueHandler(job.log)
        handler.setFormatter(logging.Formatter(f"{out.name}: %(message)s"))
        logging.basicConfig(handlers=[handler], force=True)
        logging.getLogger("qa_assets").setLevel(logging.INFO)
    reported = []

    def report(metrics: dict[str, float], _: Path | None) -> None:
        reported.append(metrics)
        ray.train.report(metrics)

    try:
        result = train(
            TrainingConfig(**arguments["config"] | job.runtime_options),
            job.inputs,
            out,
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
