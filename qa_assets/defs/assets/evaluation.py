"""The candidate, with calibrated abstention, and what it is worth on the test split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from qa_assets.artifacts import Artifact, ArtifactStore
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import curves, markdown_table
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
    code_version="2",
    pool="training",
)
def best_model(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """The candidate: the trial with the best F1 on valid, its abstention calibrated there.

    A Hugging Face directory with `calibration.json`. It serves once it has become the `champion`.
    """
    checkpoints, valid = store.latest("checkpoints"), store.latest("valid_split")
    config = TrainingConfig(**checkpoints.info["config"])
    with store.write("best_model", checkpoints, valid) as draft:
        chosen = selection.select(
            [
                selection.Trained(trial["name"], checkpoints.path / trial["path"], trial["f1"])
                for trial in checkpoints.info["trials"]
            ],
            base_of(checkpoints),
            read_split(valid.path / "rows", ["source", "references", "title"]),
            draft.path,
            config=config,
            null_text=settings.data.no_answer,
            score=metric.score,
            score_each=metric.f1_each,
        )
        draft.info |= {
            "chosen": chosen.chosen,
            "config": checkpoints.info["config"] | _searched(checkpoints, chosen.chosen),
            "base": str(base_of(checkpoints)),
            "valid": chosen.valid,
            "valid_untuned": chosen.valid_untuned,
            "data": _data(store, checkpoints, valid),
        }
    found = chosen.calibration
    return materialized(
        draft.done(),
        chosen=chosen.chosen,
        abstention_bias=found.bias,
        abstention_temperature=found.temperature,
        risk_coverage=curves(
            {"valid": [(one["coverage"], one["risk"]) for one in found.risk_coverage]},
            "coverage (share answered, the surest first)",
            "risk (1 - F1 of what is answered)",
        ),
        held_out_folds=markdown_table(asdict(fold) for fold in found.folds),
        **{f"held_out_{key}": value for key, value in found.held_out.items()},
        **{f"valid_{key}": value for key, value in chosen.valid.items()},
        **{f"valid_untuned_{key}": value for key, value in chosen.valid_untuned.items()},
    )


def _searched(checkpoints: Artifact, name: str) -> dict[str, Any]:
    """The hyperparameters that the trial of this name drew."""
    (config,) = [trial["config"] for trial in checkpoints.info["trials"] if trial["name"] == name]
    return dict(config)


def _data(store: ArtifactStore, checkpoints: Artifact, valid: Artifact) -> dict[str, Any]:
    """What the model was made of, for the registry and the model card."""
    facts: dict[str, Any] = {"base": checkpoints.info["base"], **checkpoints.inputs}
    facts["raw_squad"] = valid.inputs["raw_squad"]
    for name in ("train_split", "valid_split", "raw_squad"):
        artifact = store.find(name)
        if artifact is not None and artifact.data_version == facts[name]:
            known = ("questions", "answerable", "source")
            facts |= {f"{name}_{key}": artifact.info[key] for key in known if key in artifact.info}
    return facts


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
