"""Fine-tuned checkpoints: trials of a search, each a Ray Train fine-tuning."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, ValidationError

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import curves, markdown_table
from qa_assets.evaluation.comparison import read_split
from qa_assets.models import tiny_t5
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering import metric
from qa_assets.training.config import SearchSpace, TrainingConfig
from qa_assets.training.search import tuning


class SpaceConfig(dg.Config):
    """What several trials draw from. Empty: as `SearchSpace` says."""

    learning_rate: list[float] = Field(default=[], description="Least and greatest.")
    batch_tokens: list[int] = []
    schedule: list[str] = Field(default=[], description="linear, cosine, constant")
    optimizer: list[str] = Field(default=[], description="adamw, adafactor")
    lora_rank: list[int] = Field(default=[], description="0: all weights are trained.")


class TrainingOverrides(dg.Config):
    """What to do otherwise than the profile says, in this run. Empty: as the profile."""

    trials: int | None = Field(default=None, description="More than one search `space`.")
    space: SpaceConfig = SpaceConfig()
    learning_rate: float | None = None
    batch_tokens: int | None = None
    schedule: str | None = None
    optimizer: str | None = None
    warmup_steps: int | None = None
    lora_rank: int | None = None
    freeze_encoder: bool | None = None
    freeze_embeddings: bool | None = None
    freeze_blocks: int | None = None
    dropout: float | None = None
    label_smoothing: float | None = None
    epochs: float | None = None
    max_minutes: float | None = None
    max_batch_tokens: int | None = Field(default=None, description="Bounds the memory.")
    evaluations: int | None = None
    eval_questions: int | None = None
    average_last: int | None = None
    patience: int | None = None
    seed: int | None = None

    def resolve(self, settings: Settings) -> tuple[TrainingConfig, int, SearchSpace]:
        """Hyperparameters, number of trials, and what they draw from.

        Raises:
            dg.Failure: a value that cannot be used.
        """
        given = self.model_dump(exclude={"trials", "space"}, exclude_none=True)
        drawn = {name: values for name, values in self.space.model_dump().items() if values}
        try:
            return (
                TrainingConfig(**settings.training.model_dump() | given),
                self.trials or settings.ray.trials,
                SearchSpace(**drawn),
            )
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise dg.Failure("unusable config of checkpoints: " + "; ".join(lines)) from None


@dg.asset(
    deps=["train_split", "valid_split"],
    group_name="model",
    kinds={"ray", "pytorch", "huggingface"},
    owners=["team:ml"],
    code_version="3",
    pool="training",
)
def checkpoints(
    config: TrainingOverrides,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
) -> dg.MaterializeResult[None]:
    """One directory a trial of Ray Tune, each a Ray Train fine-tuning of the base model.

    Every trial's parameters, metrics and curves are in MLflow as well. A run that was broken off
    leaves its trials where the next one of the same data and settings goes on with them.
    """
    train, valid = store.latest("train_split"), store.latest("valid_split")
    training, count, space = config.resolve(settings)
    work = _work(store, settings, train, valid, training, count, space)
    with store.write("checkpoints", train, valid, min_free_bytes=2 * 1024**3) as draft:
        base = settings.model.base
        trials = tuning.search(
            training,
            settings.ray,
            trials=count,
            base=_tiny(train, work, settings, training) if base == "tiny" else base,
            train_rows=train.path / "rows",
            valid_rows=valid.path / "rows",
            out=work,
            mlflow_uri=settings.tracking_uri,
            score=metric.score,
            null_text=settings.data.no_answer,
            space=space,
            cache=settings.root / "features",
        )
        # linked: what is killed before the artefact is whole finds the trials where they were
        shutil.copytree(work, draft.path, copy_function=os.link, dirs_exist_ok=True)
        draft.info |= {
            "base": base,
            "config": training.model_dump(),
            "trials": [
                {
                    "name": trial.name,
                    "path": str(trial.checkpoint.relative_to(work)),
                    "f1": trial.metrics["f1"],
                    "metrics": trial.metrics,
                    "config": trial.config,
                    "history": trial.history,
                }
                for trial in trials
            ],
        }
    shutil.rmtree(work)
    return materialized(
        draft.done(),
        mlflow=settings.tracking_uri,
        diverged_trials=count - len(trials),
        **_metadata(trials),
    )


def _work(
    store: ArtifactStore,
    settings: Settings,
    train: Artifact,
    valid: Artifact,
    training: TrainingConfig,
    count: int,
    space: SearchSpace,
) -> Path:
    """Where the trials of these inputs and settings lie until they are whole."""
    values = [
        train.data_version, valid.data_version, training.shape, count, space.model_dump(),
        settings.model.base, settings.data.no_answer,
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(values).encode()).hexdigest()
    path = store.root / "checkpoints" / f".draft-{key[:16]}"  # `prune` removes it if abandoned
    path.mkdir(parents=True, exist_ok=True)
    path.touch()  # not abandoned
    return path


def _tiny(train: Artifact, work: Path, settings: Settings, training: TrainingConfig) -> Path:
    """The base model that is made of the training questions, made once."""
    path = work / "base"
    if not (path / "model.safetensors").exists():
        texts = [
            text
            for row in read_split(train.path / "rows", ["source", "target"])
            for text in (row["source"], row["target"])
        ]
        tiny_t5.create(texts, path, settings.data.no_answer, training.seed)
    return path


def _metadata(trials: list[tuning.TrialResult]) -> dict[str, Any]:
    """What the UI shows of a search."""
    best = max(trials, key=lambda trial: trial.metrics["f1"])
    return {
        "trials": markdown_table({"trial": t.name} | t.config | t.metrics for t in trials),
        "loss_curve": curves(
            {t.name: [(p["step"], p["loss"]) for p in t.history] for t in trials}, "step", "loss"
        ),
        "f1_curve": curves(
            {t.name: [(p["step"], p["f1"]) for p in t.evaluations] for t in trials}, "step", "f1"
        ),
        "trial_count": len(trials),
        "questions_in_windows": best.counts["windowed"],
        "answers_in_no_window": best.counts["lost"],
        "truncated_sources": best.counts["truncated"],
        "truncated_answers": best.counts["truncated_targets"],
        **{f"best_valid_{key}": value for key, value in best.metrics.items()},
    }
