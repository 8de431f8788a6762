"""Files to score: labelled texts, and predictions of their labels. An error names the place."""

import json
from pathlib import Path

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import EvaluationFileError, SourceError
from qa_assets.tasks.classification.formats import Record, read


def read_examples(path: Path, separator: str | None, out_of_scope: str | None) -> list[Example]:
    """The labelled texts in the order of the file; where it has several splits, those of test.

    Args:
        path: in one of the formats of `formats`.
        separator: between the labels of a text; None: it has one.
        out_of_scope: the label of texts that no label fits.

    Raises:
        EvaluationFileError: it cannot be read, a record is broken, or an id occurs twice.
    """
    try:
        records = [record for record in read(path) if record.part in (None, "test")]
    except (SourceError, OSError) as error:
        raise EvaluationFileError(str(error)) from None
    examples: dict[str, Example] = {}
    for record in records:
        example = _example(path, record, separator, out_of_scope)
        if example.id in examples:
            raise EvaluationFileError(f"{path}: {record.place} repeats the id {example.id!r}")
        examples[example.id] = example
    if not examples:
        raise EvaluationFileError(f"{path} holds no text to score on")
    return list(examples.values())


def _example(
    path: Path, record: Record, separator: str | None, out_of_scope: str | None
) -> Example:
    text, label = record.text, record.label
    if not isinstance(text, str) or not text.strip():
        raise EvaluationFileError(f"{path}: {record.place} holds no text")
    if isinstance(label, str):
        labels = label.split(separator) if separator else [label]
    else:
        labels = label if isinstance(label, list) else []
    if not all(isinstance(name, str) for name in labels) or (not labels and label is None):
        raise EvaluationFileError(f"{path}: {record.place} has no label")
    references = tuple(dict.fromkeys(name for name in labels if name and name != out_of_scope))
    key = str(record.id) if record.id is not None else record.place
    return Example(key, " ".join(text.lower().split()), {"text": text}, references)


def read_predictions(path: Path, out_of_scope: str | None) -> dict[str, Prediction]:
    """Predictions by id; "", null or `out_of_scope` where none fits.

    Raises:
        EvaluationFileError: the file is not one JSON object of texts.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationFileError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise EvaluationFileError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(content, dict):
        raise EvaluationFileError(f"{path} is no object from id to label")
    for key, label in content.items():
        if label is not None and not isinstance(label, str):
            raise EvaluationFileError(f"{path}: the prediction for {key!r} is not a text")
    return {
        key: Prediction("" if label in (None, out_of_scope) else label)
        for key, label in content.items()
    }
