"""The search for hyperparameters: Ray Tune around one Ray Train fine-tuning a trial.

Every trial writes its checkpoint straight to where it is to stay; Ray is told metrics only, so that
no weights are copied. Between driver, trial and workers go paths on a file system that all can see.
"""

import logging
import shutil
from dataclasses import dataclass
from logging.handlers import QueueHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.training import loop
from qa_assets.training.config import SearchSpace, TrainingConfig
from qa_assets.training.ray_cluster import cluster, worker_logs

if TYPE_CHECKING:
    from qa_assets.settings import RaySettings

_log = logging.getLogger(__name__)
_METRIC = "f1"
_ERROR = "error.txt"
_STOP = "stop"
_COUNTS = ("windowed", "lost", "truncated", "truncated_targets")


class SearchError(RuntimeError):
    """A search that cannot be run, or a trial that failed; the message holds the trial's error."""


@dataclass(frozen=True)
class TrialResult:
    """A finished trial: its best checkpoint, and what `loop.TrainingResult` says of it.

    Attributes:
        name: unique in its search.
        config: the hyperparameters that are searched, as this trial had them.
        checkpoint: Hugging Face directory.
        metrics: of the checkpoint on valid, in percent.
        history: the loss over the steps.
        counts: training questions in windows, and what was cut off or lost, by the names of
            `loop.TrainingResult`.
    """

    name: str
    config: dict[str, Any]
    checkpoint: Path
    metrics: dict[str, float]
    history: list[dict[str, float]]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Job:
    """What all trials have in common."""

    base: str
    train_rows: Path
    valid_rows: Path
    out: Path
    score: loop.Score
    null_text: str
    workers: int
    use_gpu: bool
    cpus_per_worker: int
    log: Any


def search(
    config: TrainingConfig,
    ray_settings: "RaySettings",
    *,
    trials: int,
    base: str | Path,
    train_rows: Path,
    valid_rows: Path,
    out: Path,
    score: loop.Score,
    null_text: str,
    mlflow_uri: str,
    experiment: str = "qa_assets",
    space: SearchSpace | None = None,
) -> list[TrialResult]:
    """Run trials, and leave each one's checkpoint and `training.json` in `out/trials/<name>`.

    A single trial trains `config` as it is. Several draw what `space` holds, and those end early
    that ASHA finds to have fallen behind at an evaluation.

    Args:
        config: the hyperparameters that are not searched.
        ray_settings: the cluster, and the workers of a trial.
        trials: how many.
        base: hub id or Hugging Face directory that every trial starts from.
        train_rows: Parquet of rows to learn from, see `features.Row`.
        valid_rows: Parquet of rows to choose by.
        out: directory that every worker can see.
        score: an importable function: scores in percent of answers against references.
        null_text: what the model says where there is no answer.
        mlflow_uri: tracking server that gets a run for every trial.
        experiment: its name in MLflow.
        space: what several trials draw from; by default `SearchSpace()`.

    Raises:
        SearchError: a trial failed.
        ClusterError: the cluster is too small for one.
    """
    space = space or SearchSpace()
    with cluster(ray_settings) as (cpus_per_worker, concurrent), worker_logs() as log:
        job = _Job(
            str(base), train_rows, valid_rows, out, score, null_text,
            ray_settings.workers, ray_settings.use_gpu, cpus_per_worker, log,
        )  # fmt: skip
        names = _tune(job, config, space, trials, concurrent, mlflow_uri, experiment)
    return [_read(out / "trials" / name, name, drawn) for name, drawn in names.items()]


def _tune(
    job: _Job,
    config: TrainingConfig,
    space: SearchSpace,
    trials: int,
    concurrent: int,
    mlflow_uri: str,
    experiment: str,
) -> dict[str, dict[str, Any]]:
    """Run the trials; return what each drew, by name."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    drawn: dict[str, Any] = {
        "learning_rate": tune.loguniform(*space.learning_rate),
        "batch_size": tune.choice(list(space.batch_size)),
        "schedule": tune.choice(list(space.schedule)),
    }
    storage = job.out / ".ray"
    tuner = tune.Tuner(
        # next to nothing: the workers, which it waits for, are what takes the CPUs
        tune.with_resources(tune.with_parameters(_trial, job=job), {"memory": 1}),
        param_space=config.model_dump() | (drawn if trials > 1 else {}),
        tune_config=tune.TuneConfig(
            metric=_METRIC,
            mode="max",
            num_samples=trials,
            scheduler=_asha(job.out, config.evaluations) if trials > 1 else None,
            search_alg=tune.search.BasicVariantGenerator(
                max_concurrent=concurrent, random_state=config.seed
            ),
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="search",
            verbose=0,
            storage_path=str(storage.absolute()),
            callbacks=[MLflowLoggerCallback(mlflow_uri, experiment_name=experiment)],
        ),
    )
    try:
        results = tuner.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    names = {}
    for result in results:
        name = Path(result.path).name
        if result.error:
            raise SearchError(f"{name}: {_reason(job.out / 'trials' / name, result.error)}")
        names[name] = {key: result.config[key] for key in drawn}
    return names


def _name(trial: Any) -> str:
    return f"trial_{trial.trial_id.rsplit('_', 1)[-1]}"


def _asha(out: Path, evaluations: int) -> Any:
    """ASHA that asks a trial to end.

    Tune would kill it instead, and the CPUs of the Ray Train run within would stay taken.
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    class Asking(ASHAScheduler):  # type: ignore[misc]
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if super().on_trial_result(controller, trial, result) == TrialScheduler.STOP:
                (out / "trials" / _name(trial) / _STOP).touch()
            return str(TrialScheduler.CONTINUE)

    return Asking(max_t=evaluations, grace_period=1, reduction_factor=2)


def _trial(config: dict[str, Any], job: _Job) -> None:
    """One trial of Ray Tune: a Ray Train run that reports to it."""
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    name = tune.get_context().get_trial_name()
    out = job.out / "trials" / name
    resources: dict[str, float] = {"CPU": job.cpus_per_worker}
    if job.use_gpu:
        resources["GPU"] = 1
    TorchTrainer(
        _worker,
        train_loop_config={"config": config, "job": job, "out": out},
        scaling_config=train.ScalingConfig(
            num_workers=job.workers, use_gpu=job.use_gpu, resources_per_worker=resources
        ),
        run_config=train.RunConfig(
            name=name,
            storage_path=str((job.out / ".ray").absolute()),
            callbacks=[TuneReportCallback()],
            # a trial that cannot be placed or that fails does so again
            failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    ).fit()


def _worker(arguments: dict[str, Any]) -> None:
    """One worker of Ray Train: the loop, reporting to Ray."""
    import ray.train

    context = ray.train.get_context()
    job: _Job = arguments["job"]
    out: Path = arguments["out"]
    if context.get_world_rank() == 0:  # the others would say the same
        handler = QueueHandler(job.log)
        handler.setFormatter(logging.Formatter(f"{out.name}: %(message)s"))
        logging.basicConfig(handlers=[handler], force=True)
        logging.getLogger("qa_assets").setLevel(logging.INFO)

    def report(metrics: dict[str, float], _: Path | None) -> None:
        ray.train.report(metrics)

    try:
        loop.train(
            TrainingConfig(**arguments["config"]),
            job.base,
            job.train_rows,
            job.valid_rows,
            out,
            score=job.score,
            null_text=job.null_text,
            report=report,
            stop=(out / _STOP).exists,
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
        )
    except Exception as error:
        out.mkdir(parents=True, exist_ok=True)
        (out / _ERROR).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        raise


def _reason(out: Path, error: Exception) -> str:
    """What a worker said itself, or else what Ray says."""
    path = out / _ERROR
    return path.read_text(encoding="utf-8") if path.exists() else str(error)


def _read(out: Path, name: str, drawn: dict[str, Any]) -> TrialResult:
    (out / _STOP).unlink(missing_ok=True)
    result = loop.TrainingResult.read(out / loop.RESULT)
    counts = {key: getattr(result, key) for key in _COUNTS}
    return TrialResult(name, drawn, result.checkpoint, result.metrics, result.history, counts)
