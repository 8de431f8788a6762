"""The search for hyperparameters: Ray Tune around one Ray Train fine-tuning a trial.

What runs on Ray is in `trial`, what is seen of it meanwhile in `progress`. Between driver, trial
and workers go paths on a file system that all can see.
"""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.training.checkpoint import DivergedError, only_one
from qa_assets.training.config import SearchSpace, TrainingConfig
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets.training.run import Score
from qa_assets.training.search import trial
from qa_assets.training.search.cluster import cluster, worker_logs

if TYPE_CHECKING:
    from qa_assets.settings import RaySettings

_log = logging.getLogger(__name__)
_METRIC = "f1"
_NAME = "search"
_COUNTS = ("windowed", "lost", "truncated", "truncated_targets")


class SearchError(RuntimeError):
    """A search that cannot be run, or a trial that failed; the message holds the trial's error."""


@dataclass(frozen=True)
class TrialResult:
    """A finished trial: its best checkpoint, and what `result.TrainingResult` says of it.

    Attributes:
        name: unique in its search.
        config: the hyperparameters that are searched, as this trial had them.
        checkpoint: Hugging Face directory.
        metrics: of the checkpoint on valid, in percent.
        history: the loss over the steps.
        evaluations: the metrics of each.
        counts: training questions in windows, and what was cut off or lost, by the names of
            `result.TrainingResult`.
    """

    name: str
    config: dict[str, Any]
    checkpoint: Path
    metrics: dict[str, float]
    history: list[dict[str, float]]
    evaluations: list[dict[str, float]]
    counts: dict[str, int]


def search(
    config: TrainingConfig,
    ray_settings: "RaySettings",
    *,
    trials: int,
    base: str | Path,
    train_rows: Path,
    valid_rows: Path,
    out: Path,
    score: Score,
    null_text: str,
    mlflow_uri: str,
    experiment: str = "qa_assets",
    space: SearchSpace | None = None,
    cache: Path | None = None,
) -> list[TrialResult]:
    """Run trials, and leave each one's checkpoint and `training.json` in `out/trials/<name>`.

    A single trial trains `config` as it is. Several draw what `space` holds, and those end early
    that ASHA finds to have fallen behind at an evaluation. A search that was broken off goes on
    when it is called again with the same `out`. Of several, those that diverge are left out.

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
        cache: directory to keep token ids in.

    Raises:
        SearchError: a trial failed, or all diverged.
        ClusterError: the cluster is too small for one.
        TrainingError: another process searches in `out`.
    """
    space = space or SearchSpace()
    with (
        only_one(out),
        cluster(ray_settings) as (cpus_per_worker, concurrent),
        worker_logs() as log,
    ):
        job = trial.Job(
            str(base), train_rows, valid_rows, out, score, null_text,
            ray_settings.workers, ray_settings.use_gpu, cpus_per_worker, cache, log,
            config.how,
        )  # fmt: skip
        names = _tune(job, config, space, trials, concurrent, mlflow_uri, experiment)
    shutil.rmtree(out / ".ray", ignore_errors=True)
    (out / ".lock").unlink(missing_ok=True)
    return [_read(job, name, drawn) for name, drawn in names.items()]


def _tune(
    job: trial.Job,
    config: TrainingConfig,
    space: SearchSpace,
    trials: int,
    concurrent: int,
    mlflow_uri: str,
    experiment: str,
) -> dict[str, dict[str, Any]]:
    """Run the trials; return what each drew, by name."""
    from ray import tune

    from qa_assets.training.search.callbacks import Curves, Table

    drawn = _drawn(space)
    storage = (job.out / ".ray").absolute()
    # next to nothing: the workers, which it waits for, are what takes the CPUs
    trainable = tune.with_resources(tune.with_parameters(trial.run, job=job), {"memory": 1})
    callbacks = [
        Curves(job.out / "trials", mlflow_uri, experiment),
        *([Table(list(drawn), _METRIC)] if trials > 1 else []),
    ]
    path = str(storage / _NAME)
    if tune.Tuner.can_restore(path):
        _log.info("going on with the search in %s", job.out)
        tuner = tune.Tuner.restore(path, trainable, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=config.model_dump() | (drawn if trials > 1 else {}),
            tune_config=tune.TuneConfig(
                metric=_METRIC,
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
        name: {key: config[key] for key in drawn}
        for name, config in _finished(tuner.fit(), job).items()
    }


def _finished(results: Iterable[Any], job: trial.Job) -> dict[str, dict[str, Any]]:
    """The configurations of the trials that trained to their end, by name.

    What diverged would do so again, and its directory is removed; all else can be gone on with.
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
        _log.warning("left out: %s", reason)
        shutil.rmtree(job.directory(name))
    return names


def _drawn(space: SearchSpace) -> dict[str, Any]:
    from ray import tune

    choices = space.model_dump(exclude={"learning_rate"})
    return {"learning_rate": tune.loguniform(*space.learning_rate)} | {
        name: tune.choice(list(values)) for name, values in choices.items()
    }


def _asha(out: Path, evaluations: int) -> Any:
    """ASHA that asks a trial to end.

    Tune would kill it instead, and the CPUs of the Ray Train run within would stay taken. Tune
    writes it down to go on with, so that it must hold nothing of a running Ray.
    """
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    class Asking(ASHAScheduler):  # type: ignore[misc]
        def on_trial_result(self, controller: Any, one: Any, result: dict[str, Any]) -> str:
            if super().on_trial_result(controller, one, result) == TrialScheduler.STOP:
                (trial.directory(out, trial.name_of(one)) / trial.STOP).touch()
            return str(TrialScheduler.CONTINUE)

    # counted by the trial, so that it goes on counting where it goes on
    return Asking(time_attr="evaluation", max_t=evaluations, grace_period=1, reduction_factor=2)


def _reason(out: Path, error: Exception) -> str:
    """What a worker said itself, or else what Ray says."""
    path = out / trial.ERROR
    return path.read_text(encoding="utf-8") if path.exists() else str(error)


def _read(job: trial.Job, name: str, drawn: dict[str, Any]) -> TrialResult:
    out = job.directory(name)
    for left in (trial.STOP, trial.ERROR, ".lock"):
        (out / left).unlink(missing_ok=True)
    result = TrainingResult.read(out / RESULT)
    return TrialResult(
        name,
        drawn,
        result.checkpoint,
        result.metrics,
        result.history,
        result.evaluations,
        {key: getattr(result, key) for key in _COUNTS},
    )
