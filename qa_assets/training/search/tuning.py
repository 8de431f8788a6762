"""The search for hyperparameters by Ray Tune, each trial a Ray Train fine-tuning.

A trial is in `trial`, its progress in `callbacks`, the cluster in `cluster`. Driver, trials and
workers exchange paths on a file system that all of them see.
"""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.training.checkpoint import DivergedError, only_one
from qa_assets.training.config import RayConfig, SearchSpace, TrainingConfig
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets.training.search import trial
from qa_assets.training.search.cluster import cluster, worker_logs
from qa_assets.training.trainer import TrainingInputs

logger = logging.getLogger(__name__)
_NAME = "search"


class SearchError(RuntimeError):
    """A search that cannot be run, or a trial that failed; the message holds the trial's error."""


@dataclass(frozen=True)
class FinishedTrial:
    """The name of a trial, the hyperparameters that it sampled, and its result."""

    name: str
    config: dict[str, Any]
    result: TrainingResult


def search(
    config: TrainingConfig,
    inputs: TrainingInputs,
    ray: RayConfig,
    *,
    trials: int,
    out: Path,
    mlflow_uri: str,
    experiment: str,
    space: SearchSpace | None = None,
    cache: Path | None = None,
) -> list[FinishedTrial]:
    """Run trials, and leave the checkpoint and `training.json` of each in `out/trials/<name>`.

    A single trial trains `config` as it is. Several sample from `space`, and those end early that
    ASHA finds to have fallen behind at an evaluation; those that diverge are left out. An
    interrupted search resumes when it is called again with the same `out`.

    Args:
        config: the hyperparameters that are not searched.
        inputs: task, base model and data; every worker must see the paths.
        ray: the cluster, and the workers of a trial.
        trials: how many.
        out: directory that every worker can see.
        mlflow_uri: tracking server, which gets a run for every trial.
        experiment: its name in MLflow.
        space: what several trials sample from; by default `SearchSpace()`.
        cache: directory to keep token ids in.

    Raises:
        SearchError: a trial failed, or all diverged.
        ClusterError: the cluster is too small for one trial.
        TrainingError: another process searches in `out`.
    """
    space = space or SearchSpace()
    with only_one(out), cluster(ray) as (cpus_per_worker, concurrent), worker_logs() as log:
        job = trial.Job(inputs, out, ray, cpus_per_worker, cache, log, config.runtime_options)
        names = _tune(job, config, space, trials, concurrent, mlflow_uri, experiment)
    shutil.rmtree(out / ".ray", ignore_errors=True)
    (out / ".lock").unlink(missing_ok=True)
    return [_read(job, name, sampled) for name, sampled in names.items()]


def _tune(
    job: trial.Job,
    config: TrainingConfig,
    space: SearchSpace,
    trials: int,
    concurrent: int,
    mlflow_uri: str,
    experiment: str,
) -> dict[str, dict[str, Any]]:
    """Run the trials; returns the hyperparameters that each sampled, by name."""
    from ray import tune

    from qa_assets.training.search.callbacks import Curves, Table

    sampled, metric = _samplers(space), job.inputs.task.metrics.primary
    storage = (job.out / ".ray").absolute()
    # the trainable only waits: its workers take the CPUs
    trainable = tune.with_resources(tune.with_parameters(trial.run, job=job), {"memory": 1})
    callbacks = [
        Curves(job.out / "trials", mlflow_uri, experiment),
        *([Table(list(sampled), metric)] if trials > 1 else []),
    ]
    path = str(storage / _NAME)
    if tune.Tuner.can_restore(path):
        logger.info("going on with the search in %s", job.out)
        tuner = tune.Tuner.restore(path, trainable, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=config.model_dump() | (sampled if trials > 1 else {}),
            tune_config=tune.TuneConfig(
                metric=metric,
                mode="max",
                num_samples=trials,
                scheduler=_asha(job.out, config.evaluations) if trials > 1 else None,
                search_alg=tune.search.BasicVariantGenerator(
                    max_concurrent=concurrent, random_state=config.seed
                ),
                trial_name_creator=trial.name_of,
                trial_dirname_creator=trial.name_of,
            ),
            run_config=tune.RunConfig(
                name=_NAME, verbose=0, storage_path=str(storage), callbacks=callbacks
            ),
        )
    return {
        name: {key: config[key] for key in sampled}
        for name, config in _finished(tuner.fit(), job).items()
    }


def _finished(results: Iterable[Any], job: trial.Job) -> dict[str, dict[str, Any]]:
    """The configurations of the trials that trained to their end, by name.

    A trial that diverged would do so again: its directory is removed. Any other can be resumed.
    """
    names, diverged = {}, {}
    for result in results:
        name = Path(result.path).name
        if not result.error:
            names[name] = result.config
            continue
        diverged[name] = f"{name}: {_reason(job.directory(name), result.error)}"
        if DivergedError.__name__ not in diverged[name]:
            raise SearchError(diverged[name])
    if not names:
        raise SearchError("\n".join(diverged.values()))
    for name, reason in diverged.items():
        logger.warning("left out: %s", reason)
        shutil.rmtree(job.directory(name))
    return names


def _samplers(space: SearchSpace) -> dict[str, Any]:
    from ray import tune

    choices = space.model_dump(exclude={"learning_rate"})
    return {"learning_rate": tune.loguniform(*space.learning_rate)} | {
        name: tune.choice(list(values)) for name, values in choices.items()
    }


def _asha(out: Path, evaluations: int) -> Any:
    """ASHA that asks a trial to end, by a file.

    Tune would kill the trial, and the CPUs of its Ray Train run would stay taken. Tune pickles the
    scheduler for resuming, so that it must hold nothing of a running Ray.
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    class Asking(ASHAScheduler):  # type: ignore[misc]
        def on_trial_result(self, controller: Any, reporting: Any, result: dict[str, Any]) -> str:
            if super().on_trial_result(controller, reporting, result) == TrialScheduler.STOP:
                (trial.directory(out, trial.name_of(reporting)) / trial.STOP).touch()
            return str(TrialScheduler.CONTINUE)

    # counted by the trial, so that a resumed one counts on
    return Asking(time_attr="evaluation", max_t=evaluations, grace_period=1, reduction_factor=2)


def _reason(out: Path, error: Exception) -> str:
    """The error that a worker wrote down, else Ray's."""
    path = out / trial.ERROR
    return path.read_text(encoding="utf-8") if path.exists() else str(error)


def _read(job: trial.Job, name: str, sampled: dict[str, Any]) -> FinishedTrial:
    out = job.directory(name)
    for left in (trial.STOP, trial.ERROR, ".lock"):
        (out / left).unlink(missing_ok=True)
    return FinishedTrial(name, sampled, TrainingResult.read(out / RESULT))
