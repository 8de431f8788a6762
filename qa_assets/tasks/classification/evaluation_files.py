"""Files to score: labelled texts, and predictions of their labels. An error names the place."""

import json
from pathlib import Path

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import EvaluationFileError, SourceError
from qa_assets.tasks.classification.formats import EXPECTED, Record, labels_of, read


def read_examples(path: Path, separator: str | None, out_of_scope: str | None) -> list[Example]:
    """The labelled texts in the order of the file; where it has several splits, those of test.

    A text without an id has the file's name and its line or row for one, such as `test-12`.

    Args:
        path: in one of the formats of `formats`.
        separator: between the labels of a text; None: it has one.
        out_of_scope: the label of texts that no label fits.

    Raises:
        EvaluationFileError: it cannot be read, a record is broken, or an id occurs twice.
    """
    try:
        records = [record for record in read(path) if record.part in (None, "test")]
    except SourceError as error:
        raise EvaluationFileError(str(error)) from None
    except OSError as error:
        raise EvaluationFileError(f"{path} cannot be read: {error.strerror or error}") from None
    places: dict[str, str] = {}
    for record in records:
        if record.id in places:
            raise EvaluationFileError(
                f"{path}: {record.place} has the id {record.id!r} of {places[record.id]}"
            )
        places[record.id] = record.place
    if not records:
        raise EvaluationFileError(f"{path} holds no text to score on; expected {EXPECTED}")
    return [_example(path, record, separator, out_of_scope) for record in records]


def _example(
    path: Path, record: Record, separator: str | None, out_of_scope: str | None
) -> Example:
    text, labels = record.text, labels_of(record.label, separator)
    if not isinstance(text, str) or not text.strip():
        raise EvaluationFileError(f"{path}: {record.place} holds no text; expected {EXPECTED}")
    if labels is None or (separator is None and not labels):
        raise EvaluationFileError(f"{path}: {record.place} has no label; expected {EXPECTED}")
    if separator is None and len(labels) > 1:
        raise EvaluationFileError(
            f"{path}: {record.place} has {len(labels)} labels, and the task's multi_label is false"
        )
    references = tuple(name for name in labels if name != out_of_scope)
    return Example(record.id, " ".join(text.lower().split()), {"text": text}, references)


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
        raise EvaluationFileError(f"{path} is no JSON object; expected one from id to label")
    for key, label in content.items():
        if label is not None and not isinstance(label, str):
            raise EvaluationFileError(
                f"{path}: the prediction for {key!r} is {json.dumps(label)[:80]}, not a text"
            )
    return {
        key: Prediction("" if label in (None, out_of_scope) else label)
        for key, label in content.items()
    }
