"""The model card: a README.md in the format of the Hugging Face hub, written from the metadata.

What it says of the task comes from `Task.card`, `Task.raw` and `Task.metrics`, all other text is in
`model_card.md.j2`. The base model and the data are named without paths of this machine.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core.artifacts import Artifact
from qa_assets.core.descriptions import Metrics
from qa_assets.core.task import Task

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

Report = Mapping[str, Any]
"""The figures of `test_report`, see `evaluation.figures`."""

_CALIBRATION = "calibration.json"  # missing where the task never abstains
_MIN_SLICE_EXAMPLES = 50
_SHOWN_SLICES = 10


@dataclass(frozen=True)
class CardWriter:
    """Writes the cards of a pipeline's candidates.

    Attributes:
        task: of the model.
        name: of the model, as people call it; its repository on the hub if there is one.
        license: of the model, by the hub's name.
    """

    task: Task
    name: str
    license: str

    def write(self, path: Path, candidate: Artifact, report: Report) -> None:
        """Write the card of a candidate to `path`, with the figures of its report."""
        import jinja2
        from huggingface_hub import ModelCard

        task, info = self.task, candidate.info
        config, data, valid = info["config"], info.get("data", {}), info.get("valid", {})
        requests, shown = f"{task.words.request}s", task.metrics.shown
        source = str(data.get(f"{task.words.raw}_source", "unknown"))
        base = str(data.get("base", "unknown"))
        names = {"official": task.raw.title, "generated": f"generated {requests}"}
        data_name = names.get(source, Path(source).name)
        splits = [
            [split, data[f"{split}_split_examples"], data.get(f"{split}_split", "")[:12]]
            for split in ("train", "valid")
            if f"{split}_split_examples" in data
        ]
        slices = _worst_slices(task, report)
        calibration = candidate.path / _CALIBRATION
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=jinja2.select_autoescape(),  # none: it is not HTML
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        text = environment.get_template("model_card.md.j2").render(
            header=self._header(source, data_name, base, report).to_yaml(line_break="\n"),
            name=self.name,
            license=self.license,
            task=task,
            requests=requests,
            official=source == "official",
            generated=source == "generated",
            data_name=data_name,
            data_version=candidate.data_version,
            base=base if _on_hub(base) else Path(base).name,
            use=task.card.use.replace("{name!r}", repr(self.name)).replace(
                "{tokens}", str(config["max_target_tokens"])
            ),
            report=report,
            scores=_table(["model", *shown.values()], _scores(task.metrics, report)),
            splits=_table(["split", requests, "data version"], splits) if splits else None,
            config=config,
            hyperparameters=_table(["hyperparameter", "value"], config.items()),
            valid=", ".join(f"{shown[key]} {valid[key]:.2f}" for key in shown if key in valid),
            calibration=json.loads(calibration.read_bytes()) if calibration.exists() else None,
            slices=_table(["slice", requests, shown[task.metrics.primary]], slices)
            if slices
            else None,
        )
        ModelCard(text).save(path)

    def _header(self, source: str, data_name: str, base: str, report: Report) -> "ModelCardData":
        from huggingface_hub import EvalResult, ModelCardData

        task, official = self.task, source == "official"
        scores = report["scores"]["candidate"]
        dataset = Path(task.raw.hub_name).name or task.name
        return ModelCardData(
            model_name=self.name,
            language="en" if source in ("official", "generated") else None,
            license=self.license,
            library_name="transformers",
            pipeline_tag=task.card.pipeline_tag,
            tags=list(task.card.tags),
            datasets=[task.raw.hub_name] if official and task.raw.hub_name else None,
            base_model=base if _on_hub(base) else None,
            metrics=[task.card.metric],
            eval_results=[
                EvalResult(
                    task_type=task.card.pipeline_tag,
                    dataset_type=dataset if official else f"{dataset}_format",
                    dataset_name=data_name,
                    dataset_split="validation" if official else "test",
                    metric_type=measure.lower(),
                    metric_name=label,
                    metric_value=round(scores[measure], 2),
                )
                for measure, label in task.metrics.shown.items()
                if measure in scores
            ],
        )


def _on_hub(base: str) -> bool:
    return base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).exists()


def _scores(metrics: Metrics, report: Report) -> list[list[str]]:
    intervals = report.get("intervals", {})
    return [
        ["this model" if model == "candidate" else model]
        + [_figure(values.get(key), intervals.get(model, {}).get(key)) for key in metrics.shown]
        for model, values in report["scores"].items()
    ]


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else f"{value:.2f}"


def _worst_slices(task: Task, report: Report) -> list[tuple[str, int, str]]:
    primary = task.metrics.primary
    slices = [
        row
        for row in report.get("slices", [])
        if row["examples"] >= _MIN_SLICE_EXAMPLES and row["slice"] != task.words.group
    ]
    slices.sort(key=lambda row: float(row[primary]["candidate"]))
    return [
        (f"{row['slice']}: {row['value']}", row["examples"], f"{row[primary]['candidate']:.2f}")
        for row in slices[:_SHOWN_SLICES]
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells
    )
