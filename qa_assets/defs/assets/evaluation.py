"""The candidate, with calibrated abstention, and what it is worth on the test split."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import curves, markdown_table
from qa_assets.evaluation.comparison import compare, read_split
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering import metric
from qa_assets.training import selection
from qa_assets.training.config import TrainingConfig


@dg.asset(
    deps=["checkpoints", "valid_split"],
    group_name="model",
    kinds={"huggingface", "pytorch"},
    owners=["team:ml"],
    code_version="3",
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
    deps=["best_model", "checkpoints", "train_split", "test_split"],
    group_name="model",
    kinds={"huggingface", "markdown"},
    owners=["team:ml"],
    code_version="3",
    pool="training",
)
def test_report(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """Candidate, champion and untuned base on the test split: which is best, and why.

    The champion is that of the time; it is no dependency, since the next one depends on this.
    `report.html` to read, `report.json` with all figures, `answers.parquet` with a row a question.
    """
    import pandas as pd

    from qa_assets.evaluation.page import HTML, write_report

    model, test = store.latest("best_model"), store.latest("test_split")
    config = TrainingConfig(**model.info["config"])
    columns = ["id", "title", "question", "context", "source", "references"]
    rows = read_split(test.path / "rows", columns)
    models = {"candidate": model.path, "untuned": model.info["base"]}
    champion = store.find("champion")
    if champion is not None:
        models["champion"] = champion.path
    sources = [row["source"] for row in rows]
    answered = {
        name: selection.answers_with_confidence(where, sources, config, settings.data.no_answer)
        for name, where in models.items()
    }
    result = compare(
        rows,
        {name: texts for name, (texts, _) in answered.items()},
        {name: confidences for name, (_, confidences) in answered.items()},
    )
    uncalibrated = selection.uncalibrated_answers(
        model.path, sources, answered["candidate"][0], config, settings.data.no_answer
    )
    before = metric.score(uncalibrated, [row["references"] for row in rows])
    inputs = [model, test] + ([champion] if champion else [])
    with store.write("test_report", *inputs) as draft:
        figures = write_report(
            draft.path,
            result,
            title=f"Answers to the test questions, profile {settings.profile}",
            facts={
                **{name: str(where) for name, where in models.items()},
                "trained on": _trained_on(settings),
                "test split": f"data version {test.data_version[:12]}, {settings.data.source}",
            },
            train_answers=_train_answers(store, model),
            histories=_histories(store, model),
        )
        pd.DataFrame(result.rows).to_parquet(draft.path / "answers.parquet", index=False)
        draft.info |= {"scores": figures["scores"], "base": model.info["base"]}
    path = draft.done().path
    served = f"http://127.0.0.1:{settings.report_port}/{path.name}/{HTML}"  # by `qa-assets ui`
    return materialized(
        draft.done(),
        report=dg.MetadataValue.url(served),
        report_file=dg.MetadataValue.path(str(path / HTML)),
        scores=markdown_table(result.table()),
        sample_answers=markdown_table(result.samples("candidate")),
        errors=markdown_table(result.errors("candidate")),
        gain_of_abstention_bias_f1=result.scores["candidate"]["f1"] - before["f1"],
        **{f"test_{key}": value for key, value in result.scores["candidate"].items()},
        **{f"test_untuned_{key}": value for key, value in result.scores["untuned"].items()},
    )


def _trained_on(settings: Settings) -> str:
    questions = settings.data.train_questions
    return settings.data.source + (f", {questions:,} questions at most" if questions else "")


def _of_model(store: ArtifactStore, model: Artifact) -> Artifact | None:
    """The checkpoints that a model was chosen from, unless newer ones took their place."""
    checkpoints = store.latest("checkpoints")
    same = checkpoints.data_version == model.inputs["checkpoints"]
    return checkpoints if same else None


def _histories(store: ArtifactStore, model: Artifact) -> dict[str, list[dict[str, float]]]:
    """The loss of each trial that a model was chosen from."""
    checkpoints = _of_model(store, model)
    if checkpoints is None:
        return {}
    return {trial["name"]: trial["history"] for trial in checkpoints.info["trials"]}


def _train_answers(store: ArtifactStore, model: Artifact) -> set[str] | None:
    """The normalised answers that a model learnt from, where its train split is the newest."""
    checkpoints, train = _of_model(store, model), store.latest("train_split")
    if checkpoints is None or checkpoints.inputs["train_split"] != train.data_version:
        return None
    rows = read_split(train.path / "rows", ["references"])
    return {metric.normalize(text) for row in rows for text in row["references"]}
