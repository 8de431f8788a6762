"""`qa-assets evaluate`: the scores and the report of any model or predictions on any SQuAD file."""

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from qa_assets.evaluation.comparison import Comparison, compare
from qa_assets.models import any_model
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering.squad_files import (
    FileError,
    read_predictions,
    read_questions,
)

_KEYS = tuple(
    f"{part}{name}" for part in ("", "HasAns_", "NoAns_") for name in ("exact", "f1", "total")
)
_NAMED = 3


def evaluate(
    settings: Settings,
    data: Path,
    predictions: Path | None,
    model: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Print scores on stdout and everything else on stderr; returns the exit code.

    Args:
        settings: what the model says to abstain, unless the model knows it.
        data: a file in the format of SQuAD.
        predictions: a JSON object from id to text; this or a model.
        model: a Hugging Face directory.
        report: where to write `report.html` and `report.json`.
        as_json: print one JSON object.
    """
    if (predictions is None) == (model is None):
        return _fail("give either --predictions or --model")
    _log_progress()
    try:
        if report is not None:
            _check_writable(report)
        rows = read_questions(data)
        notes: list[str] = []
        confidences: list[float] | None = None
        if predictions is not None:
            texts, notes = match(rows, read_predictions(predictions), data, predictions)
        if model is not None:
            texts, confidences = any_model.answers(model, rows, settings.data.no_answer)
        for note in notes:
            typer.secho(note, err=True, fg="yellow")
        known = {"candidate": confidences} if confidences else None
        compared = compare(rows, {"candidate": texts}, known)
        if report is not None:
            facts = {"evaluated": str(predictions or model), "on": str(data)}
            _write(report, compared, facts, notes)
            typer.secho(f"report: {(report / 'report.html').absolute()}", err=True)
    except (FileError, any_model.ModelError, OSError) as error:
        return _fail(str(error))
    _show(compared, as_json)
    return 0


def match(
    rows: Sequence[dict[str, Any]], told: dict[str, str], data: Path, predictions: Path
) -> tuple[list[str], list[str]]:
    """The prediction of every question, and what is to be said of ids that do not match.

    A question without a prediction counts as abstained on.

    Raises:
        FileError: not one prediction is of a question.
    """
    ids = {row["id"] for row in rows}
    missing = [row["id"] for row in rows if row["id"] not in told]
    unknown = [key for key in told if key not in ids]
    if len(missing) == len(rows):
        raise FileError(
            f"{predictions} has no prediction for any of the {len(rows)} questions of {data}"
            f" ({_some(missing)}); its ids: {_some(unknown) or 'none'}"
        )
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} questions without a prediction, taken as abstained on:"
            f" {_some(missing)}"
        )
    if unknown:
        notes.append(f"{len(unknown)} predictions without a question, left out: {_some(unknown)}")
    return [told.get(row["id"], "") for row in rows], notes


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
        raise FileError(f"--report {report}: {place} is a file")
    if not os.access(place, os.W_OK):
        raise FileError(f"--report {report}: no permission to write to {place}")


def _write(report: Path, compared: Comparison, facts: dict[str, str], notes: list[str]) -> None:
    """Write the report beside, and rename its files into place."""
    from qa_assets.evaluation.page import write_report

    report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=report) as draft:
        title = f"Evaluation on {Path(facts['on']).name}"
        write_report(Path(draft), compared, title=title, facts=facts, notes=notes)
        for file in Path(draft).iterdir():
            file.replace(report / file.name)


def _show(compared: Comparison, as_json: bool) -> None:
    scores = compared.scores["candidate"]
    if as_json:
        # a part without questions has a total of 0 and no score
        typer.echo(
            json.dumps(
                {key: scores.get(key, 0 if key.endswith("total") else None) for key in _KEYS}
            )
        )
        return
    table = Table("questions", "count", "EM", "F1", title="percent", title_justify="left")
    for label, part in (("all", ""), ("with an answer", "HasAns_"), ("without", "NoAns_")):
        if f"{part}total" in scores:
            figures = (f"{scores[part + name]:.2f}" for name in ("exact", "f1"))
            table.add_row(label, f"{scores[f'{part}total']:,}", *figures)
    Console().print(table)


def _fail(message: str) -> int:
    typer.secho(message, err=True, fg="red")
    return 1
