"""Files to score: questions in the format of SQuAD v1.1 or v2.0, and predictions of them.

An error names the place in the file. Training data, of more formats, is read by `spark_reader`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import EvaluationFileError

_FORMAT = "data[].paragraphs[].{context, qas[].{id, question, answers[].text}}"


def read_examples(path: Path) -> list[Example]:
    """The questions in the order of the file.

    As in the official evaluation, a question without answers has none, whatever `is_impossible`
    says. An article without a title is called by its number.

    Raises:
        EvaluationFileError: the file is not of that format, has a question twice, or has none.
    """
    examples: dict[str, Example] = {}
    places: dict[str, str] = {}
    articles = _numbered(_read(path), "data", "", path)
    for number, (place, article) in enumerate(articles, 1):
        for inside, paragraph in _numbered(article, "paragraphs", place, path):
            context = _get(paragraph, "context", str, inside, path)
            for where, qa in _numbered(paragraph, "qas", inside, path):
                inputs = {"question": _get(qa, "question", str, where, path), "context": context}
                answers = _numbered(qa, "answers", where, path)
                texts = dict.fromkeys(_get(row, "text", str, at, path) for at, row in answers)
                key = _get(qa, "id", str, where, path)
                if key in examples:
                    raise EvaluationFileError(
                        f"{path}: {where} has the id {key!r} of {places[key]}"
                    )
                title = str(article.get("title") or f"article {number}")
                examples[key] = Example(key, title, inputs, tuple(texts))
                places[key] = where
    if not examples:
        raise EvaluationFileError(f"{path} holds no question; expected {_FORMAT}")
    return list(examples.values())


def _numbered(parent: Any, key: str, place: str, path: Path) -> Iterator[tuple[str, Any]]:
    """The items of a list, each with its place."""
    for number, item in enumerate(_get(parent, key, list, place, path)):
        yield f"{place}.{key}[{number}]".removeprefix("."), item


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Predictions by question id, "" where the prediction is to abstain.

    Raises:
        EvaluationFileError: the file is not one JSON object of texts.
    """
    content = _read(path)
    if not isinstance(content, dict):
        raise EvaluationFileError(
            f"{path} holds {_name(content)}; expected an object from id to text"
        )
    for key, text in content.items():
        if not isinstance(text, str):
            raise EvaluationFileError(
                f"{path}: the prediction for {key!r} is {_name(text)}, not a text"
            )
    return {key: Prediction(text) for key, text in content.items()}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationFileError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise EvaluationFileError(f"{path} is not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise EvaluationFileError(f"{path} is not usable: it is nested too deeply") from None


def _get(parent: Any, key: str, kind: type, place: str, path: Path) -> Any:
    """A part of a file, of the kind that it has to be."""
    whole = f"{path}: {place or 'the whole'}"
    if not isinstance(parent, dict):
        raise EvaluationFileError(f"{whole} is {_name(parent)}, not an object; expected {_FORMAT}")
    if key not in parent:
        raise EvaluationFileError(f"{whole} lacks {key!r}; expected {_FORMAT}")
    if not isinstance(parent[key], kind):
        wanted = "a text" if kind is str else "a list"
        raise EvaluationFileError(f"{whole}: {key!r} is {_name(parent[key])}, not {wanted}")
    return parent[key]


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")
