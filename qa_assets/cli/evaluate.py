"""`qa-assets evaluate`: the scores and the report of any model or predictions on any SQuAD file."""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from qa_assets.cli.choice import ChosenTask, fail
from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import EvaluationFileError, Task
from qa_assets.evaluation.comparison import Comparison
from qa_assets.evaluation.page import write_report
from qa_assets.models.any_model import ModelError, predict_any

_NAMED = 3


def evaluate(
    data: Annotated[Path, typer.Option(help="Examples, such as SQuAD v1.1 or v2.0 JSON.")],
    task: ChosenTask,
    predictions: Annotated[
        Path | None, typer.Option(help='A JSON object from id to text, "" to abstain.')
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face directory.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write report.html and report.json to this directory.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, in full precision.")
    ] = False,
) -> int:
    """Score a model or predictions on a file of examples, by the official metric."""
    if (predictions is None) == (model is None):
        return fail("give either --predictions or --model")
    logging.getLogger("qa_assets").setLevel(logging.INFO)  # the progress of decoding, on stderr
    try:
        if report is not None:
            _check_writable(report)
        examples = task.read_examples(data)
        notes: list[str] = []
        if predictions is not None:
            predicted, notes = _match(task, examples, predictions, data)
        if model is not None:
            predicted = predict_any(model, task, examples)
        for note in notes:
            typer.secho(note, err=True, fg="yellow")
        comparison = Comparison(task, examples, {"candidate": predicted})
        if report is not None:
            facts = {"evaluated": str(predictions or model), "on": str(data)}
            _write(report, comparison, facts, notes)
            typer.secho(f"report: {(report / 'report.html').absolute()}", err=True)
    except (EvaluationFileError, ModelError, OSError) as error:
        return fail(str(error))
    _show(task, comparison, as_json)
    return 0


def _match(
    task: Task, examples: Sequence[Example], predictions: Path, data: Path
) -> tuple[list[Prediction], list[str]]:
    """The prediction of every example, and what is to be said of ids that do not match.

    An example without a prediction counts as abstained on.

    Raises:
        EvaluationFileError: not one prediction is of an example.
    """
    predicted, request = task.read_predictions(predictions), task.words.request
    ids = {example.id for example in examples}
    missing = [example.id for example in examples if example.id not in predicted]
    unknown = [key for key in predicted if key not in ids]
    if len(missing) == len(examples):
        raise EvaluationFileError(
            f"{predictions} has no prediction for any of the {len(examples)} {request}s of {data}"
            f" ({_some(missing)}); its ids: {_some(unknown) or 'none'}"
        )
    notes = []
    if missing:
        without = f"{len(missing)} {request}s without a prediction"
        notes.append(f"{without}, taken as abstained on: {_some(missing)}")
    if unknown:
        notes.append(f"{len(unknown)} predictions without a {request}, left out: {_some(unknown)}")
    return [predicted.get(example.id, Prediction("")) for example in examples], notes


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")


def _check_writable(report: Path) -> None:
    """Fail before the work rather than after it."""
    path = report.absolute()
    place = next(parent for parent in (path, *path.parents) if parent.exists())
    if not place.is_dir():
        raise EvaluationFileError(f"--report {report}: {place} is a file")
    if not os.access(place, os.W_OK):
        raise EvaluationFileError(f"--report {report}: no permission to write to {place}")


def _write(report: Path, comparison: Comparison, facts: dict[str, str], notes: list[str]) -> None:
    """Write the report beside, and rename its files into place."""
    report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=report) as draft:
        title = f"Evaluation on {Path(facts['on']).name}"
        write_report(Path(draft), comparison, title=title, facts=facts, notes=notes)
        for file in Path(draft).iterdir():
            file.replace(report / file.name)


def _show(task: Task, comparison: Comparison, as_json: bool) -> None:
    figures = comparison.scores["candidate"].figures
    if as_json:
        # a part without examples has a total of 0 and no score
        empty = {key: 0 if key.endswith("total") else None for key in task.metrics.figures}
        typer.echo(json.dumps(empty | figures))
        return
    table = Table("measure", "percent", title=f"{figures['total']:,} {task.words.request}s")
    for key, label in task.metrics.shown.items():
        table.add_row(label, f"{figures[key]:.2f}" if key in figures else "")
    Console().print(table)
