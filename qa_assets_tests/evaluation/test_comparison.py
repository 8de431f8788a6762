"""Models side by side: figures, errors, and the page."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from qa_assets.evaluation import plots
from qa_assets.evaluation.comparison import VERDICTS, Comparison, compare, verdict
from qa_assets.evaluation.figures import figures
from qa_assets.evaluation.page import _marked, write_report

HOSTILE = '<script>alert("x")</script> & "quoted"'


def rows(articles: int = 6) -> list[dict[str, Any]]:
    """Four questions an article, the last of them without an answer."""
    return [
        {
            "id": f"{article}-{number}",
            "title": f"{HOSTILE} {article}",
            "question": f"Who is number {number}? {HOSTILE}",
            "context": f"{HOSTILE} The number {number} is person {number} of article {article}.",
            "source": "not shown",
            "references": [f"person {number}"] if number < 3 else [],
        }
        for article in range(articles)
        for number in range(4)
    ]


def compared(questions: list[dict[str, Any]]) -> Comparison:
    """A candidate that is right but for one answer an article, and a champion a bit worse."""
    gold = [row["references"][0] if row["references"] else "" for row in questions]
    candidate = [
        HOSTILE if row["id"].endswith("-2") else text
        for row, text in zip(questions, gold, strict=True)
    ]
    champion = [
        "wrong" if row["id"] in ("0-0", "1-3") else text
        for row, text in zip(questions, candidate, strict=True)
    ]
    sure = [0.9 - number / 100 for number in range(len(gold))]
    return compare(
        questions,
        {"candidate": candidate, "champion": champion, "untuned": ["the number"] * len(gold)},
        {"candidate": sure, "champion": sure},
    )


def test_figures_are_of_one_piece() -> None:
    comparison = compared(rows())
    found = figures(comparison, {"person 1"})
    assert list(found) == ["scores", "intervals", "paired", "slices"]
    scores = found["scores"]
    assert set(scores) == {"candidate", "champion", "untuned", "always abstain"}
    assert scores["candidate"]["f1"] == 75.0
    assert (scores["always abstain"]["HasAns_f1"], scores["always abstain"]["f1"]) == (0.0, 25.0)
    for model, intervals in found["intervals"].items():
        assert set(intervals) == {"exact", "f1", "HasAns_f1", "NoAns_f1"}
        for name, (low, high) in intervals.items():
            assert low - 1e-9 <= scores[model][name] <= high + 1e-9
    assert found["intervals"]["candidate"]["f1"] == pytest.approx([75.0, 75.0])
    for other, test in found["paired"].items():
        assert test["f1_difference"] == scores["candidate"]["f1"] - scores[other]["f1"]
        assert test["interval"][0] <= test["f1_difference"] <= test["interval"][1]
    assert set(found["paired"]) == {"champion", "untuned"}
    assert found["paired"]["champion"]["p_value"] > 0.05 > found["paired"]["untuned"]["p_value"]
    for name in ("answerable", "question word", "context length", "article"):
        parts = [part for part in found["slices"] if part["slice"] == name]
        mean = sum(part["f1"]["champion"] * part["questions"] for part in parts) / 24
        assert mean == pytest.approx(scores["champion"]["f1"])
    seen = {
        part["value"]: part for part in found["slices"] if part["slice"] == "answer seen in train"
    }
    assert (seen["seen"]["questions"], seen["seen"]["articles"]) == (6, 6)
    assert set(seen["seen"]["f1"]) == {"candidate", "champion", "untuned"}


def test_one_article_gives_no_intervals() -> None:
    found = figures(compared(rows(articles=1)))
    assert found["intervals"] == {model: {} for model in found["scores"]}
    assert found["paired"] == {}


def test_verdicts_and_worst_errors() -> None:
    questions = [
        {"id": str(n), "question": "", "context": "", "references": gold}
        for n, gold in enumerate([["red dog"], ["red dog"], ["red dog"], ["red dog"], [], []])
    ]
    said = ["Red dog!", "red", "cat", "", "cat", ""]
    result = compare(questions, {"m": said})
    assert [verdict(row, "m") for row in result.rows] == [*VERDICTS, VERDICTS[0]]
    assert [row["id"] for row in result.worst("m", 3)] == ["2", "3", "4"]
    assert [row["id"] for row in result.worst("m", 2)] == ["2", "3"]
    sure = compare(questions, {"m": said}, {"m": [1, 0.9, 0.2, 0.6, 0.5, 1]})
    assert [row["id"] for row in sure.worst("m")] == ["3", "4", "1", "2"]


def test_page_is_self_contained_and_escapes_the_data(tmp_path: Path) -> None:
    found = write_report(
        tmp_path,
        compared(rows()),
        title=HOSTILE,
        facts={"on": HOSTILE},
        notes=[HOSTILE],
        histories={"one": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], "none": []},
    )
    assert json.loads((tmp_path / "report.json").read_text()) == found
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 20
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!#)[^\"'#]*//", page)
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 3
    for picture in pictures:
        assert "#0" not in re.sub(r"url\(#\w+\)|\"#\w+\"", "", picture)  # colours are the page's
        ET.fromstring(picture)  # noqa: S314 - our own
    assert page.count('<details class="error') == 6


def test_page_of_predictions_alone(tmp_path: Path) -> None:
    questions = rows(articles=1)
    write_report(tmp_path, compare(questions, {"candidate": [""] * 4}), title="t", facts={})
    page = (tmp_path / "report.html").read_text()
    assert "nothing to take intervals from" in page
    assert "<svg" not in page
    assert "champion" not in re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL)


def test_context_marks_what_was_expected_and_said() -> None:
    pieces = list(_marked("In 1066, Rollo came.", ["Rollo came"], "1066, rollo"))
    assert pieces == [
        ("In ", ""), ("1066, ", "said"), ("Rollo", "gold said"), (" came", "gold"), (".", ""),
    ]  # fmt: skip
    assert list(_marked("İstanbul is old", [], "nowhere")) == [("İstanbul is old", "")]


def test_calibration_error_by_hand() -> None:
    assert plots.calibration_error([0.95, 0.95, 0.25], [1, 0, 0]) == pytest.approx(
        (abs(0.5 - 0.95) * 2 + 0.25) / 3
    )
    assert plots.calibration_error([1.0, 0.0], [1, 0]) == 0
