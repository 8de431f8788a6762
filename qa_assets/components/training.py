"""Fine-tuned checkpoints: trials of a search, each a Ray Train fine-tuning."""

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, ValidationError

from qa_assets.components.pipeline import Pipeline, code_version, digest, overrides
from qa_assets.components.tables import curves, markdown_table
from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.core.examples import read_examples
from qa_assets.core.task import Task, load_task
from qa_assets.settings import Settings
from qa_assets.training.config import SearchSpace, TrainingConfig

if TYPE_CHECKING:
    from qa_assets.training.search.tuning import FinishedTrial

TINY = "tiny"
"""The base model that is made of the training examples."""


class SpaceOverrides(dg.Config):
    """What several trials draw from. Empty: as the pipeline says."""

    learning_rate: list[float] = Field(default=[], description="Least and greatest.")
    batch_tokens: list[int] = []
    schedule: list[str] = Field(default=[], description="linear, cosine, constant")
    optimizer: list[str] = Field(default=[], description="adamw, adafactor")
    lora_rank: list[int] = Field(default=[], description="0: all weights are trained.")


class TrainingOverrides(overrides(TrainingConfig)):  # type: ignore[misc]
    """What to do otherwise than the pipeline says, in this run. Empty: as the pipeline."""

    base: str | None = Field(default=None, description="The model that training starts from.")
    trials: int | None = Field(default=None, description="More than one search `space`.")
    space: SpaceOverrides = SpaceOverrides()

    def resolve(self, pipeline: Pipeline) -> tuple[TrainingConfig, int, SearchSpace]:
        """Hyperparameters, number of trials, and what they draw from.

        Raises:
            dg.Failure: a value that cannot be used.
        """
        config, search = pipeline.config.training, pipeline.config.search
        changes = self.model_dump(include=set(TrainingConfig.model_fields), exclude_none=True)
        space = {name: values for name, values in self.space.model_dump().items() if values}
        try:
            return (
                TrainingConfig(**config.model_dump() | changes),
                self.trials or search.trials,
                SearchSpace(**search.model_dump(exclude={"trials"}) | space),
            )
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise dg.Failure("unusable config of checkpoints: " + "; ".join(lines)) from None


def build(pipeline: Pipeline) -> dg.Definitions:
    """The asset of this stage, its check, and the job that trains on all data."""
    report = dg.AssetSelection.assets(pipeline.key("test_report"))
    train_full = dg.define_asset_job(
        pipeline.op("train_full"),
        selection=report.upstream().required_multi_asset_neighbors(),
        config=full_config(pipeline),
        description="From raw data to the report on test, by the recipe for quality: hours on a "
        "CPU.",
    )
    return dg.Definitions(
        assets=[_checkpoints(pipeline)],
        asset_checks=[_losses_finite(pipeline)],
        jobs=[train_full] if pipeline.config.full_training else [],
    )


def _checkpoints(pipeline: Pipeline) -> dg.AssetsDefinition:
    config = pipeline.config

    @dg.asset(
        **pipeline.spec("checkpoints", {"ray", "pytorch", "huggingface"}, "ml"),
        ins=pipeline.keys("train_split", "valid_split"),
        code_version=code_version(
            "4", config.training, config.search, config.model.base, pipeline.task
        ),
        pool="training",
    )
    def checkpoints(
        config: TrainingOverrides,
        settings: dg.ResourceParam[Settings],
        train_split: Artifact,
        valid_split: Artifact,
    ) -> dg.MaterializeResult[None]:
        """One directory a trial of Ray Tune, each a Ray Train fine-tuning of the base model.

        Every trial's parameters, metrics and curves are in MLflow as well. A run that was broken
        off leaves its trials where the next one of the same data and settings goes on with them.
        """
        from qa_assets.training.search import tuning
        from qa_assets.training.trainer import TrainingInputs

        training, count, space = config.resolve(pipeline)
        base = config.base or pipeline.config.model.base
        task = pipeline.task.with_learned(train_split.info["task"]["settings"])
        store = pipeline.store(settings)
        work = work_directory(store, train_split, valid_split, training, count, space, base, task)
        with store.write(
            "checkpoints", train_split, valid_split, min_free_bytes=2 * 1024**3
        ) as draft:
            inputs = TrainingInputs(
                task,
                _tiny(task, train_split, work, training) if base == TINY else base,
                train_split.path / "rows",
                valid_split.path / "rows",
            )
            trials = tuning.search(
                training,
                inputs,
                settings.ray,
                trials=count,
                out=work,
                mlflow_uri=settings.tracking_uri,
                experiment=f"qa_assets/{pipeline.name}",
                space=space,
                cache=settings.root / "features",
            )
            # linked: what is killed before the artefact is whole finds the trials where they were
            shutil.copytree(work, draft.path, copy_function=os.link, dirs_exist_ok=True)
            draft.info |= {
                "base": base,
                "task": task.spec(),
                "config": training.model_dump(),
                "trials": [_describe(trial, work, task) for trial in trials],
            }
        shutil.rmtree(work)
        return pipeline.materialized(
            draft.done(),
            **_metadata(trials, task),
            mlflow=settings.tracking_uri,
            diverged_trials=count - len(trials),
        )

    return checkpoints


def work_directory(
    store: ArtifactStore,
    train: Artifact,
    valid: Artifact,
    training: TrainingConfig,
    trials: int,
    space: SearchSpace,
    base: str,
    task: Task,
) -> Path:
    """Where the trials of these inputs and settings lie until they are whole."""
    versions = [train.data_version, valid.data_version]
    key = digest(*versions, training.fingerprint, trials, space, base, task.spec())
    path = store.root / "checkpoints" / f".draft-{key[:16]}"  # `prune` removes it if abandoned
    path.mkdir(parents=True, exist_ok=True)
    path.touch()  # not abandoned
    return path


def base_of(checkpoints: Artifact) -> str | Path:
    """What the trials started from: a hub id, a directory, or the model that the stage made."""
    base: str = checkpoints.info["base"]
    return checkpoints.path / "base" if base == TINY else base


def task_of(artifact: Artifact) -> Task:
    """The task that a model was trained for, with its settings of that time."""
    return load_task(**artifact.info["task"])


def _tiny(task: Task, train: Artifact, work: Path, training: TrainingConfig) -> Path:
    """The base model that is made of the training examples, made once."""
    from qa_assets.models import tiny_bert, tiny_t5

    path = work / "base"
    if not (path / "model.safetensors").exists():
        prompts = [
            prompt
            for example in read_examples(train.path / "rows")
            for prompt in task.prompts(example)
        ]
        if task.kind == "encoder":
            return tiny_bert.create((prompt.source for prompt in prompts), path, training.seed)
        texts = [text for prompt in prompts for text in (prompt.source, *prompt.targets)]
        words = [task.abstention] if task.abstention else []
        tiny_t5.create(texts, path, words, training.seed)
    return path


def _describe(trial: "FinishedTrial", work: Path, task: Task) -> dict[str, Any]:
    result = trial.result
    return {
        "name": trial.name,
        "path": str(result.checkpoint.relative_to(work)),
        "score": result.metrics[task.metrics.primary],
        "metrics": result.metrics,
        "config": trial.config,
        "history": result.history,
    }


def _metadata(trials: "list[FinishedTrial]", task: Task) -> dict[str, Any]:
    """What the UI shows of a search."""
    metric = task.metrics.primary
    best = max((trial.result for trial in trials), key=lambda result: result.metrics[metric])
    return {
        **{f"best_valid_{key}": value for key, value in best.metrics.items()},
        "trials": markdown_table({"trial": t.name} | t.config | t.result.metrics for t in trials),
        "loss_curve": curves(
            {t.name: [(p["step"], p["loss"]) for p in t.result.history] for t in trials},
            "step",
            "loss",
        ),
        f"{metric}_curve": curves(
            {t.name: [(p["step"], p[metric]) for p in t.result.evaluations] for t in trials},
            "step",
            metric,
        ),
        "trial_count": len(trials),
        f"{task.words.request}s_in_windows": best.counts["windowed"],
        f"{task.words.response}s_in_no_window": best.counts["lost"],
        "truncated_sources": best.counts["truncated"],
        f"truncated_{task.words.response}s": best.counts["truncated_targets"],
    }


def _losses_finite(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=pipeline.key("checkpoints"), blocking=True)
    def losses_finite(checkpoints: Artifact) -> dg.AssetCheckResult:
        """Every trial logged losses, all of them finite, and the last is below the first."""
        trials = checkpoints.info["trials"]
        bad = []
        for trial in trials:
            losses = [point["loss"] for point in trial["history"]]
            if len(losses) < 2 or not all(map(math.isfinite, losses)) or losses[-1] >= losses[0]:
                bad.append(trial["name"])
        names = ", ".join(bad) or "none"
        return pipeline.result(
            "checkpoints", "losses_finite", not bad, trials=len(trials), bad=names
        )

    return losses_finite


def full_config(pipeline: Pipeline) -> dict[str, Any]:
    """The run config of the job `<pipeline>_train_full`."""
    recipe = pipeline.config.full_training or TrainingConfig()
    config = recipe.model_dump(mode="json", exclude_defaults=True)
    return {"ops": {pipeline.op("_checkpoints"): {"config": config}}}
