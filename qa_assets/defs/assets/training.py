"""Fine-tuned checkpoints: trials of a search, each a Ray Train fine-tuning."""

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import curves, markdown_table
from qa_assets.settings import Settings
from qa_assets.squad import metric
from qa_assets.squad.report import read_split
from qa_assets.training import base_model, search
from qa_assets.training.config import TrainingConfig


class TrainingOverrides(dg.Config):
    """What to do otherwise than the profile says, in this run. Empty: as the profile."""

    trials: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    epochs: float | None = None
    max_minutes: float | None = None
    seed: int | None = None


@dg.asset(
    deps=["train_split", "valid_split"],
    group_name="model",
    kinds={"ray", "pytorch", "huggingface"},
    owners=["team:ml"],
    code_version="2",
    pool="training",
)
def checkpoints(
    config: TrainingOverrides,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
) -> dg.MaterializeResult[None]:
    """One directory a trial of Ray Tune, each a Ray Train fine-tuning of the base model.

    Every trial's parameters and metrics are in MLflow as well.
    """
    train, valid = store.latest("train_split"), store.latest("valid_split")
    changed = config.model_dump(exclude={"trials"}, exclude_none=True)
    training = TrainingConfig(**(settings.training.model_dump() | changed))
    with store.write("checkpoints", train, valid, min_free_bytes=2 * 1024**3) as draft:
        base = settings.model.base
        if base == "tiny":
            texts = [
                text
                for row in read_split(train.path / "rows", ["source", "target"])
                for text in (row["source"], row["target"])
            ]
            base = str(
                base_model.create_tiny_t5(
                    texts, draft.path / "base", settings.data.no_answer, training.seed
                )
            )
        trials = search.search(
            training,
            settings.ray,
            trials=config.trials or settings.ray.trials,
            base=base,
            train_rows=train.path / "rows",
            valid_rows=valid.path / "rows",
            out=draft.path,
            mlflow_uri=settings.tracking_uri,
            score=metric.score,
            null_text=settings.data.no_answer,
        )
        draft.info |= {
            "base": settings.model.base,
            "config": training.model_dump(),
            "trials": [
                {
                    "name": trial.name,
                    "path": str(trial.checkpoint.relative_to(draft.path)),
                    "f1": trial.metrics["f1"],
                    "metrics": trial.metrics,
                    "config": trial.config,
                    "history": trial.history,
                }
                for trial in trials
            ],
        }
    best = max(trials, key=lambda trial: trial.metrics["f1"])
    return materialized(
        draft.done(),
        trials=markdown_table({"trial": t.name} | t.config | t.metrics for t in trials),
        loss_curve=curves(
            {t.name: [(p["step"], p["loss"]) for p in t.history] for t in trials}, "step", "loss"
        ),
        trial_count=len(trials),
        mlflow=settings.tracking_uri,
        questions_in_windows=best.counts["windowed"],
        answers_in_no_window=best.counts["lost"],
        truncated_sources=best.counts["truncated"],
        truncated_answers=best.counts["truncated_targets"],
        **{f"best_valid_{key}": value for key, value in best.metrics.items()},
    )
