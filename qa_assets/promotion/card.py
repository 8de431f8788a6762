"""The model card: a README.md in the format of the Hugging Face hub, written from the metadata.

What it says of the task is the task's (`Task.card`, `Task.raw`, `Task.metrics`). Nothing of this
machine goes into it: the base model and the data are named without their paths.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core.artifacts import Artifact
from qa_assets.core.task import Task

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_CALIBRATION = "calibration.json"
_LEAST_EXAMPLES = 50  # of a slice that is shown
_SHOWN_SLICES = 10
_OFFICIAL, _GENERATED = "official", "generated"


@dataclass(frozen=True)
class CardFacts:
    """What a card is written from.

    Attributes:
        task: of the model.
        name: of the model, as people call it; its repository on the hub if there is one.
        license: of the model, by the hub's name.
        config: the hyperparameters of the training.
        data: `base`, and data version, source and size of raw data and splits where known.
        valid: scores in percent on valid.
        report: the figures of `test_report`, see `evaluation.figures`.
        calibration: what `calibration.json` holds; None where the task never abstains.
        data_version: of the model.
    """

    task: Task
    name: str
    license: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    valid: Mapping[str, float]
    report: Mapping[str, Any]
    calibration: Mapping[str, Any] | None
    data_version: str

    @property
    def source(self) -> str:
        """Where the data comes from."""
        return str(self.data.get(f"{self.task.words.raw}_source", "unknown"))

    @property
    def requests(self) -> str:
        """What a model is asked, in the plural."""
        return f"{self.task.words.request}s"

    @property
    def data_name(self) -> str:
        """The data set, in words."""
        if self.source == _OFFICIAL:
            return self.task.raw.title
        return f"generated {self.requests}" if self.source == _GENERATED else Path(self.source).name

    @property
    def base(self) -> str:
        """The model that training started from, without a path of this machine."""
        base = str(self.data.get("base", "unknown"))
        return base if _on_hub(base) else Path(base).name


@dataclass(frozen=True)
class CardWriter:
    """Writes the cards of a pipeline's candidates; attributes as in `CardFacts`."""

    task: Task
    name: str
    license: str

    def write(self, path: Path, candidate: Artifact, report: Mapping[str, Any]) -> None:
        """Write the card of a candidate to `path`, with the figures of its report."""
        calibration = candidate.path / _CALIBRATION
        facts = CardFacts(
            task=self.task,
            name=self.name,
            license=self.license,
            config=candidate.info["config"],
            data=candidate.info.get("data", {}),
            valid=candidate.info.get("valid", {}),
            report=report,
            calibration=json.loads(calibration.read_bytes()) if calibration.exists() else None,
            data_version=candidate.data_version,
        )
        write(path, facts)


def write(path: Path, facts: CardFacts) -> None:
    """Write the card to `path`."""
    from huggingface_hub import ModelCard

    header = _header(facts).to_yaml(line_break="\n")
    sections = {
        "Use": _use(facts),
        "Scores": _scores(facts),
        "Training": _training(facts),
        "Abstention": _abstention(facts),
        "Limits": _limits(facts),
        "Licence": _licence(facts),
    }
    parts = [f"---\n{header}\n---", f"# {facts.name}", _summary(facts)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    ModelCard("\n\n".join(parts) + "\n").save(path)


def _on_hub(base: str) -> bool:
    return base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).exists()


def _header(facts: CardFacts) -> "ModelCardData":
    from huggingface_hub import EvalResult, ModelCardData

    task, official = facts.task, facts.source == _OFFICIAL
    scores = facts.report["scores"]["candidate"]
    dataset = Path(task.raw.hub_name).name or task.name
    return ModelCardData(
        model_name=facts.name,
        language="en" if facts.source in (_OFFICIAL, _GENERATED) else None,
        license=facts.license,
        library_name="transformers",
        pipeline_tag=task.card.pipeline_tag,
        tags=list(task.card.tags),
        datasets=[task.raw.hub_name] if official and task.raw.hub_name else None,
        base_model=facts.base if _on_hub(facts.base) else None,
        metrics=[task.card.metric],
        eval_results=[
            EvalResult(
                task_type=task.card.pipeline_tag,
                dataset_type=dataset if official else f"{dataset}_format",
                dataset_name=facts.data_name,
                dataset_split="validation" if official else "test",
                metric_type=measure.lower(),
                metric_name=label,
                metric_value=round(scores[measure], 2),
            )
            for measure, label in task.metrics.shown.items()
            if measure in scores
        ],
    )


def _summary(facts: CardFacts) -> str:
    return (
        f"{facts.task.card.summary} "
        f"Fine-tuned from {facts.base} on {facts.data_name} by qa_assets; "
        f"data version `{facts.data_version[:12]}`."
    )


def _use(facts: CardFacts) -> str:
    # no str.format: the code may hold braces
    return facts.task.card.use.replace("{name!r}", repr(facts.name)).replace(
        "{tokens}", str(facts.config["max_target_tokens"])
    )


def _scores(facts: CardFacts) -> str:
    scores, intervals = facts.report["scores"], facts.report.get("intervals", {})
    total = scores["candidate"].get("total", "?")
    metrics = facts.task.metrics
    names = {"candidate": "this model"}
    rows = [
        [names.get(model, model)]
        + [_figure(values.get(key), intervals.get(model, {}).get(key)) for key in metrics.shown]
        for model, values in scores.items()
    ]
    note = (
        f"On the test split of {total} {facts.requests}, in percent; 95 % intervals by bootstrap "
        f"over {facts.task.words.group}s. {metrics.note}"
    )
    return f"{note}\n\n{_table(['model', *metrics.shown.values()], rows)}"


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return ""
    text = f"{value:.2f}"
    return f"{text} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else text


def _training(facts: CardFacts) -> str:
    sizes = [
        [
            name.removesuffix("_split"),
            facts.data[f"{name}_examples"],
            facts.data.get(name, "")[:12],
        ]
        for name in ("train_split", "valid_split")
        if f"{name}_examples" in facts.data
    ]
    valid = ", ".join(
        f"{label} {facts.valid[key]:.2f}"
        for key, label in facts.task.metrics.shown.items()
        if key in facts.valid
    )
    parts = [_table(["split", facts.requests, "data version"], sizes)] if sizes else []
    parts.append(_table(["hyperparameter", "value"], facts.config.items()))
    parts.append(f"On valid, which it was chosen and calibrated by: {valid}.")
    return "\n\n".join(parts)


def _abstention(facts: CardFacts) -> str | None:
    calibration, words = facts.calibration, facts.task.words
    if calibration is None:
        return None
    bias, abstention = calibration["bias"], f"`{calibration['null_text']}`"
    held_out = calibration.get("held_out")
    metrics = facts.task.metrics
    gain = (
        f"; on {words.group}s held out in turn it is worth {held_out['gain']:+.2f} "
        f"{metrics.shown[metrics.primary]}"
        if held_out
        else ""
    )
    return (
        f"The model says {abstention} where there is no {words.response}. The bias of its logit, "
        f"{bias:+.3f}, was chosen on {calibration['rows']} {facts.requests} of valid{gain}. With m "
        f"the logit of {abstention} less the best other one (of a text: at its first token), "
        f"sigmoid((m {bias:+.3f}) / {calibration['temperature']:.3f}) is the probability that "
        f"there is no {words.response}; above one half the model abstains."
    )


def _limits(facts: CardFacts) -> str:
    limits = [
        f"Trained on {facts.data_name}: no other subjects, languages or styles were measured.",
        *facts.task.card.limits,
        f"What is longer than {facts.config['max_source_tokens']} tokens is split or cut, in "
        "training as well.",
    ]
    if facts.source == _GENERATED:
        limits.insert(0, "**It knows some hundred words of made-up texts and is of no other use.**")
    text = "\n".join(f"- {limit}" for limit in limits)
    worst = _worst_slices(facts)
    return f"{text}\n\nWeakest on:\n\n{worst}" if worst else text


def _worst_slices(facts: CardFacts) -> str | None:
    metrics, words = facts.task.metrics, facts.task.words
    rows = [
        (f"{row['slice']}: {row['value']}", row["examples"], row[metrics.primary]["candidate"])
        for row in facts.report.get("slices", [])
        if row["examples"] >= _LEAST_EXAMPLES and row["slice"] != words.group
    ]
    rows = sorted(rows, key=lambda row: float(row[2]))[:_SHOWN_SLICES]
    header = ["slice", facts.requests, metrics.shown[metrics.primary]]
    shown = [(name, examples, f"{value:.2f}") for name, examples, value in rows]
    return _table(header, shown) if rows else None


def _licence(facts: CardFacts) -> str:
    parts = [f"`{facts.license}`."]
    if facts.source == _OFFICIAL:
        parts.append(facts.task.raw.credit)
    if facts.base.startswith("google/flan-t5"):
        parts.append("Flan-T5 is Apache 2.0.")
    return " ".join(parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells
    )
