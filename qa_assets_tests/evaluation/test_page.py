"""The report's page: complete, escaped, and in the words of the task."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree as ET

import pytest

from qa_assets.core.descriptions import Messages, Metrics, Section, Words
from qa_assets.core.examples import Example, Prediction, Scores
from qa_assets.core.reliability import calibration_error
from qa_assets.core.slicing import Slice, by_value
from qa_assets.evaluation.comparison import Comparison
from qa_assets.evaluation.page import _marked, write_report
from qa_assets.tasks.question_answering.task import QuestionAnswering
from qa_assets_tests.evaluation.comparisons import HOSTILE, TASK, compared, questions


class Labelling(QuestionAnswering):
    """A task of one input, whose primary metric is the exact one, with a table of its own."""

    words: ClassVar = Words(raw="raw_texts", request="text", response="label", group="author")
    metrics: ClassVar = Metrics(
        shown={"accuracy": "accuracy", "macro": "macro-F1"},
        primary="accuracy",
        exact="accuracy",
        note="Macro-F1 is the mean over labels.",
        floors={"accuracy": 50},
        figures=("accuracy", "macro"),
    )
    messages: ClassVar = Messages(
        inputs={"text": {}}, outputs={}, kept_inputs=("text",), sample={"text": "hello"}
    )

    def score(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """Accuracy, and a measure that has no value for each example."""
        right = [
            float(prediction.text in example.references)
            for example, prediction in zip(examples, predictions, strict=True)
        ]
        return Scores(
            {"accuracy": 100 * sum(right) / len(right), "macro": 50.0}, {"accuracy": right}
        )

    def baselines(
        self, examples: Sequence[Example], train: Callable[[], Sequence[Example]] | None
    ) -> dict[str, list[Prediction]]:
        """The first label of train."""
        return (
            {"first label": [Prediction(train()[0].references[0])] * len(examples)} if train else {}
        )

    def slices(
        self, examples: Sequence[Example], train_references: Collection[str] | None = None
    ) -> Iterator[Slice]:
        """By label."""
        assert train_references == {"a"}
        yield from by_value("label", range(len(examples)), lambda n: examples[n].references[0])

    def report_sections(
        self,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],  # noqa: ARG002
    ) -> Sequence[Section]:
        """A table."""
        return [Section("Confusions", HOSTILE, [{"label": HOSTILE, "share": 12.345, "top": None}])]


def test_page_is_self_contained_and_escapes_the_data(tmp_path: Path) -> None:
    report = write_report(
        tmp_path,
        compared(questions()),
        title=HOSTILE,
        facts={"on": HOSTILE},
        notes=[HOSTILE],
        histories={"trial": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], "none": []},
    )
    assert json.loads((tmp_path / "report.json").read_text()) == report
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 20
    assert "not shown" not in page
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!#)[^\"'#]*//", page)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        assert "#0" not in re.sub(r"url\(#\w+\)|\"#\w+\"", "", picture)  # colours are the page's
        ET.fromstring(picture)  # noqa: S314 - our own
    assert page.count('<details class="error') == 6


def test_page_of_predictions_alone(tmp_path: Path) -> None:
    comparison = Comparison(TASK, questions(articles=1), {"candidate": [Prediction("")] * 4})
    write_report(tmp_path, comparison, title="t", facts={})
    page = (tmp_path / "report.html").read_text()
    assert "nothing to take intervals from" in page
    assert "<svg" not in page
    assert "champion" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)


def test_answers_seen_in_train_are_a_slice_where_train_is_known(tmp_path: Path) -> None:
    known = Example("train", "article", {}, ["person 1"])
    for train in (None, lambda: [known]):
        report = write_report(tmp_path, compared(questions()), title="t", facts={}, train=train)
        parts = {part["value"]: part["examples"] for part in report["slices"]}
        assert parts.get("seen") == (6 if train else None)


def test_page_in_the_words_of_another_task(tmp_path: Path) -> None:
    task = Labelling()
    examples = [
        Example(str(n), f"author {n % 5}", {"text": f"text {n} " + "long " * 50}, ["ab"[n % 2]])
        for n in range(20)
    ]
    loads = []

    def train() -> list[Example]:
        loads.append(1)
        return [Example("train", "author", {"text": "x"}, ["a"])]

    comparison = Comparison(task, examples, {"candidate": [Prediction("a", 0.75)] * 20})
    report = write_report(tmp_path, comparison, title="t", facts={}, train=train)
    assert len(loads) == 1
    assert report["scores"]["first label"] == {"accuracy": 50.0, "macro": 50.0}
    assert set(report["intervals"]["candidate"]) == {"accuracy"}
    assert report["slices"][1]["accuracy"] == {"candidate": 0.0}
    assert list(comparison.to_frame())[3:] == [
        "references", "candidate", "candidate_accuracy", "candidate_confidence",
    ]  # fmt: skip
    assert list(comparison.errors("candidate")[0]) == ["text", "gold", "label"]
    page = (tmp_path / "report.html").read_text()
    visible = " ".join(
        re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL).split()
    )
    for part in (
        "The candidate's accuracy is", "20 texts from 5 authors", "Macro-F1 is the mean",
        "What became of the texts", "accuracy of the candidate on parts of the texts",
        "How many labels are exactly right", "The accuracy of 10 texts is 0",
        "the baseline “first label” has 50.0", "<h2>Confusions</h2>", "<td>12.3</td> <td>–</td>",
    ):  # fmt: skip
        assert part in visible
    for word in ("question", "article", "answer ", "EM", "HasAns"):
        assert word not in visible
    assert "expected label" not in visible  # a label does not occur in its text
    assert page.count("long …") == 0
    assert page.count("…") == 10  # titles of long texts


def test_last_input_marks_what_was_expected_and_predicted() -> None:
    pieces = list(_marked("In 1066, Rollo came.", ["Rollo came"], "1066, rollo"))
    assert pieces == [
        ("In ", ""), ("1066, ", "predicted"), ("Rollo", "expected predicted"),
        (" came", "expected"), (".", ""),
    ]  # fmt: skip
    assert list(_marked("İstanbul is old", [], "nowhere")) == [("İstanbul is old", "")]


def test_calibration_error_by_hand() -> None:
    assert calibration_error([0.95, 0.95, 0.25], [1, 0, 0]) == pytest.approx(
        (abs(0.5 - 0.95) * 2 + 0.25) / 3
    )
    assert calibration_error([1.0, 0.0], [1, 0]) == 0
