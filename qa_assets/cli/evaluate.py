"""`qa-assets evaluate`: the scores and the report of any model or predictions on any SQuAD file."""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from qa_assets.cli.choice import fail
from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import EvaluationFileError, Task
from qa_assets.evaluation.comparison import Comparison, compare
from qa_assets.models.any_model import ModelError, predict_any

_NAMED = 3


def evaluate(
    task: Task,
    data: Path,
    predictions: Path | None,
    model: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Print scores on stdout and everything else on stderr; returns the exit code.

    Args:
        task: reads the files and scores.
        data: examples with references.
        predictions: a file of predictions by id; this or a model.
        model: a Hugging Face directory.
        report: where to write `report.html` and `report.json`.
        as_json: print one JSON object.
    """
    if (predictions is None) == (model is None):
        return fail("give either --predictions or --model")
    _log_progress()
    try:
        if report is not None:
            _check_writable(report)
        examples = task.read_examples(data)
        notes: list[str] = []
        if predictions is not None:
            found = task.read_predictions(predictions)
            predicted, notes = match(task, examples, found, data, predictions)
        if model is not None:
            predicted = predict_any(model, task, examples)
        for note in notes:
            typer.secho(note, err=True, fg="yellow")
        comparison = compare(task, examples, {"candidate": predicted})
        if report is not None:
            facts = {"evaluated": str(predictions or model), "on": str(data)}
            _write(report, comparison, facts, notes)
            typer.secho(f"report: {(report / 'report.html').absolute()}", err=True)
    except (EvaluationFileError, ModelError, OSError) as error:
        return fail(str(error))
    _show(task, comparison, as_json)
    return 0


def match(
    task: Task,
    examples: Sequence[Example],
    predicted: dict[str, Prediction],
    data: Path,
    predictions: Path,
) -> tuple[list[Prediction], list[str]]:
    """The prediction of every example, and what is to be said of ids that do not match.

    An example without a prediction counts as abstained on.

    Raises:
        EvaluationFileError: not one prediction is of an example.
    """
    request = task.words.request
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
        notes.append(
            f"{len(missing)} {request}s without a prediction, taken as abstained on:"
            f" {_some(missing)}"
        )
    if unknown:
        notes.append(f"{len(unknown)} predictions without a {request}, left out: {_some(unknown)}")
    return [predicted.get(example.id, Prediction("")) for example in examples], notes


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")


def _log_progress() -> None:
    """What the library logs goes to stderr, the progress of decoding among it."""
    logging.getLogger("qa_assets").setLevel(logging.INFO)


def _check_writable(report: Path) -> None:
    """Fail before the work rather than after it."""
    place = report.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise EvaluationFileError(f"--report {report}: {place} is a file")
    if not os.access(place, os.W_OK):
        raise EvaluationFileError(f"--report {report}: no permission to write to {place}")


def _write(report: Path, comparison: Comparison, facts: dict[str, str], notes: list[str]) -> None:
    """Write the report beside, and rename its files into place."""
    from qa_assets.evaluation.page import write_report

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
