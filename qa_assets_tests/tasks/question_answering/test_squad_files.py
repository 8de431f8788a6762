"""Files that people bring, and what is said of those that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import EvaluationFileError
from qa_assets.tasks.question_answering.squad_files import read_examples, read_predictions

ANSWER = {"text": "Rollo", "answer_start": 4}


def squad(*questions: dict[str, Any]) -> dict[str, Any]:
    """A file of one paragraph."""
    return {"data": [{"paragraphs": [{"context": "It was Rollo.", "qas": list(questions)}]}]}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_both_versions_are_read(tmp_path: Path) -> None:
    old = {"id": "1", "question": "Who?", "answers": [ANSWER, ANSWER]}
    new = {"id": "2", "question": "Why?", "answers": [], "is_impossible": True}
    context = "It was Rollo."
    assert read_examples(written(tmp_path / "f", squad(old, new))) == [
        Example("1", "article 1", {"question": "Who?", "context": context}, ("Rollo",)),
        Example("2", "article 1", {"question": "Why?", "context": context}, ()),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "the whole is a list, not an object"),
        ({"version": "1"}, "the whole lacks 'data'"),
        ({"data": []}, "holds no question"),
        ({"data": [None]}, r"data\[0\] is null"),
        (squad("x"), r"data\[0\]\.paragraphs\[0\]\.qas\[0\] is a text"),  # type: ignore[arg-type]
        (squad({"id": 1, "question": "", "answers": []}), r"qas\[0\]: 'id' is a number"),
        (squad({"id": "1", "question": ""}), r"qas\[0\] lacks 'answers'"),
        (
            squad({"id": "1", "question": "", "answers": [{"text": None}]}),
            r"answers\[0\]: 'text' is null",
        ),
        (squad(*[{"id": "1", "question": "", "answers": []}] * 2), r"qas\[1\] has the id '1' of"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path / "questions.json", content)
    with pytest.raises(EvaluationFileError, match=f"{path}.*{message}"):
        read_examples(path)


def test_predictions(tmp_path: Path) -> None:
    path = written(tmp_path / "said.json", {"1": "Rollo", "2": ""})
    assert read_predictions(path) == {"1": Prediction("Rollo"), "2": Prediction("")}
    for content, message in (([1], "holds a list"), ({"1": None}, "for '1' is null"), ("", "JSON")):
        with pytest.raises(EvaluationFileError, match=message):
            read_predictions(written(path, content))
    with pytest.raises(EvaluationFileError, match="nowhere cannot be read: No such file"):
        read_predictions(tmp_path / "nowhere")
