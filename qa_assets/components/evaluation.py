"""The candidate, with calibrated abstention, and what it is worth on the test split."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.components.tables import curves, markdown_table
from qa_assets.components.training import base_of, task_of
from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.core.examples import read_examples
from qa_assets.models.loading import predict
from qa_assets.settings import Settings
from qa_assets.training.config import TrainingConfig


def build(pipeline: Pipeline) -> dg.Definitions:
    """The assets and the check of this stage; the gate is a check of `promotion`."""
    return dg.Definitions(
        assets=[_best_model(pipeline), _test_report(pipeline)],
        asset_checks=[_better_than_untuned(pipeline)],
    )


def _best_model(pipeline: Pipeline) -> dg.AssetsDefinition:
    @dg.asset(
        **pipeline.spec("best_model", {"huggingface", "pytorch"}, "ml"),
        ins=pipeline.keys("checkpoints", "valid_split"),
        code_version="4",
        pool="training",
    )
    def best_model(
        settings: dg.ResourceParam[Settings], checkpoints: Artifact, valid_split: Artifact
    ) -> dg.MaterializeResult[None]:
        """The candidate: the trial that is best on valid, its abstention calibrated there.

        A Hugging Face directory with `calibration.json`. It serves once it is the `champion`.
        """
        from qa_assets.training import selection

        task, store = task_of(checkpoints), pipeline.store(settings)
        config = TrainingConfig(**checkpoints.info["config"])
        trials = {trial["name"]: trial for trial in checkpoints.info["trials"]}
        with store.write("best_model", checkpoints, valid_split) as draft:
            selected = selection.select(
                [
                    selection.Trained(name, checkpoints.path / trial["path"], trial["score"])
                    for name, trial in trials.items()
                ],
                base_of(checkpoints),
                task,
                read_examples(valid_split.path / "rows"),
                draft.path,
                config=config,
            )
            draft.info |= {
                "chosen": selected.chosen,
                "task": task.spec(),
                "config": checkpoints.info["config"] | trials[selected.chosen]["config"],
                "base": str(base_of(checkpoints)),
                "valid": selected.valid,
                "valid_untuned": selected.valid_untuned,
                "data": _data(store, checkpoints, valid_split, task.words.raw),
            }
        return pipeline.materialized(
            draft.done(),
            chosen=selected.chosen,
            **{f"valid_{key}": value for key, value in selected.valid.items()},
            **{f"valid_untuned_{key}": value for key, value in selected.valid_untuned.items()},
            **_calibration(selected.calibration),
        )

    return best_model


def _calibration(calibration: Any) -> dict[str, Any]:
    """Metadata of calibrated abstention; nothing where the task never abstains."""
    if calibration is None:
        return {}
    points = [(point["coverage"], point["risk"]) for point in calibration.risk_coverage]
    return {
        "abstention_bias": calibration.bias,
        "abstention_temperature": calibration.temperature,
        "risk_coverage": curves(
            {"valid": points},
            "coverage (share answered, the surest first)",
            "risk (1 - score of what is answered)",
        ),
        "held_out_folds": markdown_table(asdict(fold) for fold in calibration.folds),
        **{f"held_out_{key}": value for key, value in calibration.held_out.items()},
    }


def _data(store: ArtifactStore, checkpoints: Artifact, valid: Artifact, raw: str) -> dict[str, Any]:
    """What the model was made of, for the registry and the model card."""
    facts: dict[str, Any] = {"base": checkpoints.info["base"], **checkpoints.inputs}
    facts[raw] = valid.inputs[raw]
    for name in ("train_split", "valid_split", raw):
        artifact = store.find(name)
        if artifact is not None and artifact.data_version == facts[name]:
            known = ("examples", "answerable", "source")
            facts |= {f"{name}_{key}": artifact.info[key] for key in known if key in artifact.info}
    return facts


def _test_report(pipeline: Pipeline) -> dg.AssetsDefinition:
    @dg.asset(
        **pipeline.spec("test_report", {"huggingface", "markdown"}, "ml"),
        ins=pipeline.keys("best_model", "checkpoints", "train_split", "test_split"),
        code_version="4",
        pool="training",
    )
    def test_report(
        settings: dg.ResourceParam[Settings],
        best_model: Artifact,
        checkpoints: Artifact,
        train_split: Artifact,
        test_split: Artifact,
    ) -> dg.MaterializeResult[None]:
        """Candidate, champion and untuned base on the test split: which is best, and why.

        The champion is that of the time; it is no input, since the next one depends on this.
        `report.html` to read, `report.json` with all figures, `answers.parquet` with a row an
        example.
        """
        from qa_assets.evaluation.comparison import Comparison
        from qa_assets.evaluation.page import HTML, write_report
        from qa_assets.training.selection import predict_uncalibrated

        task, store = task_of(best_model), pipeline.store(settings)
        options = TrainingConfig(**best_model.info["config"]).predict_options
        examples = read_examples(test_split.path / "rows")
        champion = store.find("champion")
        base = best_model.info["base"]
        models: dict[str, str | Path] = {"candidate": best_model.path, "untuned": base}
        models |= {"champion": champion.path} if champion else {}
        predictions = {
            name: predict(model, task, examples, options) for name, model in models.items()
        }
        comparison = Comparison(task, examples, predictions)
        uncalibrated = predict_uncalibrated(
            best_model.path, task, examples, predictions["candidate"], options
        )
        metric = task.metrics.primary
        before = task.score(examples, uncalibrated).figures[metric]
        of_model = checkpoints.data_version == best_model.inputs["checkpoints"]
        of_train = of_model and checkpoints.inputs["train_split"] == train_split.data_version
        inputs = [best_model, test_split] + ([champion] if champion else [])
        with store.write("test_report", *inputs) as draft:
            figures = write_report(
                draft.path,
                comparison,
                title=f"The test {task.words.request}s of pipeline {pipeline.name}",
                facts={
                    **{name: str(model) for name, model in models.items()},
                    "trained on": _trained_on(best_model, task.words.raw),
                    "test split": f"data version {test_split.data_version[:12]}",
                },
                train=partial(read_examples, train_split.path / "rows") if of_train else None,
                histories={
                    trial["name"]: trial["history"]
                    for trial in checkpoints.info["trials"]
                    if of_model
                },
            )
            comparison.to_frame().to_parquet(draft.path / "answers.parquet", index=False)
            draft.info |= {"scores": figures["scores"], "base": base}
        path, scores = draft.done().path, comparison.scores
        # by `qa-assets ui`
        page = f"http://127.0.0.1:{settings.report_port}/{pipeline.name}/{path.name}/{HTML}"
        return pipeline.materialized(
            draft.done(),
            report=dg.MetadataValue.url(page),
            scores=markdown_table(comparison.table()),
            **{f"test_{key}": value for key, value in scores["candidate"].figures.items()},
            **{f"test_untuned_{key}": value for key, value in scores["untuned"].figures.items()},
            **{f"gain_of_abstention_bias_{metric}": scores["candidate"].figures[metric] - before},
            sample_answers=markdown_table(comparison.samples("candidate")),
            errors=markdown_table(comparison.errors("candidate")),
            report_file=dg.MetadataValue.path(str(path / HTML)),
        )

    return test_report


def _trained_on(model: Artifact, raw: str) -> str:
    data = model.info["data"]
    count = data.get("train_split_examples")
    return str(data.get(f"{raw}_source", "")) + (f", {count:,} examples" if count else "")


def _better_than_untuned(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=pipeline.key("best_model"), blocking=True)
    def better_than_untuned(best_model: Artifact) -> dg.AssetCheckResult:
        """Its score on valid is above that of the model that training started from."""
        metric = pipeline.task.metrics.primary
        tuned, untuned = (best_model.info[name][metric] for name in ("valid", "valid_untuned"))
        scores = {f"tuned_{metric}": tuned, f"untuned_{metric}": untuned}
        return pipeline.result("best_model", "better_than_untuned", tuned > untuned, **scores)

    return better_than_untuned
