"""Reading what people bring: files in the format of SQuAD v1.1 or v2.0, and predictions.

What is wrong with a file is said with its place in it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qa_assets.tasks.question_answering.prompts import source_text

_FORMAT = "data[].paragraphs[].{context, qas[].{id, question, answers[].text}}"


class FileError(ValueError):
    """A file that cannot be used; the message names it, the place and what was expected."""


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Rows of `id, title, question, context, source, references`, in the order of the file.

    As in the official evaluation, a question without answers has none, whatever `is_impossible`
    says. An article without a title is called by its number.

    Raises:
        FileError: the file is not of that format, has a question twice, or has none.
    """
    content = _read(path)
    rows: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    for place, row in _questions(_get(content, "data", list, "", path), path):
        if row["id"] in seen:
            raise FileError(f"{path}: {place} has the id {row['id']!r} of {seen[row['id']]}")
        seen[row["id"]] = place
        rows.append(row)
    if not rows:
        raise FileError(f"{path} holds no question; expected {_FORMAT}")
    return rows


def _questions(articles: list[Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, article in enumerate(articles):
        place = f"data[{number}]"
        for below, paragraph in enumerate(_get(article, "paragraphs", list, place, path)):
            inside = f"{place}.paragraphs[{below}]"
            context = _get(paragraph, "context", str, inside, path)
            for last, question in enumerate(_get(paragraph, "qas", list, inside, path)):
                where = f"{inside}.qas[{last}]"
                asked = _get(question, "question", str, where, path)
                answers = _get(question, "answers", list, where, path)
                texts = [
                    _get(answer, "text", str, f"{where}.answers[{index}]", path)
                    for index, answer in enumerate(answers)
                ]
                yield (
                    where,
                    {
                        "id": _get(question, "id", str, where, path),
                        "title": str(article.get("title") or f"article {number + 1}"),
                        "question": asked,
                        "context": context,
                        "source": source_text(asked, context),
                        "references": list(dict.fromkeys(texts)),
                    },
                )


def read_predictions(path: Path) -> dict[str, str]:
    """Predicted texts by question id, "" where the prediction is to abstain.

    Raises:
        FileError: the file is not one JSON object of texts.
    """
    content = _read(path)
    if not isinstance(content, dict):
        raise FileError(f"{path} holds {_name(content)}; expected an object from id to text")
    for key, text in content.items():
        if not isinstance(text, str):
            raise FileError(f"{path}: the prediction for {key!r} is {_name(text)}, not a text")
    return content


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"{path} is not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise FileError(f"{path} is not usable: it is nested too deeply") from None


def _get(parent: Any, key: str, kind: type, place: str, path: Path) -> Any:
    """A part of a file, of the kind that it has to be."""
    whole = f"{path}: {place or 'the whole'}"
    if not isinstance(parent, dict):
        raise FileError(f"{whole} is {_name(parent)}, not an object; expected {_FORMAT}")
    if key not in parent:
        raise FileError(f"{whole} lacks {key!r}; expected {_FORMAT}")
    if not isinstance(parent[key], kind):
        wanted = "a text" if kind is str else "a list"
        raise FileError(f"{whole}: {key!r} is {_name(parent[key])}, not {wanted}")
    return parent[key]


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")
