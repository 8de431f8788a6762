"""The chosen model, with calibrated abstention, and what it is worth on the test split."""

from dataclasses import asdict
from pathlib import Path

import dagster as dg

from qa_assets.artifacts import MANIFEST, Artifact, ArtifactStore
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import markdown_table
from qa_assets.settings import Settings
from qa_assets.squad import metric
from qa_assets.squad.report import compare, read_split
from qa_assets.training import selection
from qa_assets.training.config import TrainingConfig


@dg.asset(
    deps=["checkpoints", "valid_split"],
    group_name="model",
    kinds={"huggingface", "pytorch"},
    owners=["team:ml"],
    code_version="1",
    pool="training",
)
def best_model(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """The trial with the best F1 on valid, abstention calibrated, unless the champion is better.

    A Hugging Face directory with `calibration.json`. The champion is the earlier version of this
    asset; it stays where it was measured on the same valid split and was the better.
    """
    checkpoints, valid = store.latest("checkpoints"), store.latest("valid_split")
    config = TrainingConfig(**checkpoints.info["config"])
    earlier = store.find("best_model")
    comparable = earlier is not None and earlier.inputs["valid_split"] == valid.data_version
    with store.write("best_model", checkpoints, valid) as draft:
        chosen = selection.select(
            [
                selection.Trained(trial["name"], checkpoints.path / trial["path"], trial["f1"])
                for trial in checkpoints.info["trials"]
            ],
            _champion(earlier) if comparable and earlier else None,
            base_of(checkpoints),
            read_split(valid.path / "rows", ["source", "references"]),
            draft.path,
            config=config,
            null_text=settings.data.no_answer,
            score=metric.score,
            score_each=metric.f1_each,
        )
        (draft.path / MANIFEST).unlink(missing_ok=True)  # a kept champion brought its own
        draft.info |= asdict(chosen) | {
            "config": checkpoints.info["config"],
            "base": str(base_of(checkpoints)),
            "earlier": str(earlier.path) if earlier else None,
        }
    return materialized(
        draft.done(),
        chosen=chosen.chosen,
        abstention_bias=chosen.bias,
        **{f"valid_{key}": value for key, value in chosen.valid.items()},
        **{f"valid_untuned_{key}": value for key, value in chosen.valid_untuned.items()},
    )


def _champion(earlier: Artifact) -> selection.Trained:
    return selection.Trained("champion", earlier.path, earlier.info["valid"]["f1"])


def base_of(checkpoints: Artifact) -> str | Path:
    """What the trials started from: a hub id, a directory, or the model that the stage made."""
    base: str = checkpoints.info["base"]
    return checkpoints.path / "base" if base == "tiny" else base


@dg.asset(
    deps=["best_model", "test_split"],
    group_name="model",
    kinds={"huggingface", "markdown"},
    owners=["team:ml"],
    code_version="1",
    pool="training",
)
def test_report(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """The untuned base, this model and the one before it on the test split, by the official metric.

    `scores.json`, `answers.parquet` with a row a question, and `errors.md`.
    """
    import json

    import pandas as pd

    model, test = store.latest("best_model"), store.latest("test_split")
    config = TrainingConfig(**model.info["config"])
    rows = read_split(test.path / "rows", ["id", "question", "context", "source", "references"])
    models = {"untuned": model.info["base"], "tuned": model.path}
    earlier = model.info["earlier"]
    if earlier and Path(earlier).is_dir():
        models["previous"] = Path(earlier)
    result = compare(
        rows,
        {
            name: selection.answers(
                where, [row["source"] for row in rows], config, settings.data.no_answer
            )
            for name, where in models.items()
        },
    )
    wrong = markdown_table(result.errors("tuned"))
    with store.write("test_report", model, test) as draft:
        (draft.path / "scores.json").write_text(json.dumps(result.scores, indent=2) + "\n")
        pd.DataFrame(result.rows).to_parquet(draft.path / "answers.parquet", index=False)
        (draft.path / "errors.md").write_text(f"{wrong.md_str}\n")
        draft.info |= {"scores": result.scores, "base": model.info["base"]}
    return materialized(
        draft.done(),
        scores=markdown_table(result.table()),
        sample_answers=markdown_table(result.samples("tuned")),
        errors=wrong,
        **{f"test_{key}": value for key, value in result.scores["tuned"].items()},
        **{f"test_untuned_{key}": value for key, value in result.scores["untuned"].items()},
    )
