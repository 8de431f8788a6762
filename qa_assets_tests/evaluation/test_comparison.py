"""Models side by side: scores, verdicts, tables and figures."""

import math
from collections.abc import Mapping, Sequence

import pytest

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.slicing import Slice
from qa_assets.evaluation.comparison import Comparison, Verdict
from qa_assets.evaluation.figures import Figures, figures
from qa_assets_tests.evaluation.comparisons import TASK, compared, questions


def compare_texts(
    examples: Sequence[Example],
    texts: Mapping[str, Sequence[str]],
    confidences: Sequence[float | None] | None = None,
) -> Comparison:
    """A comparison of plain texts."""
    known = confidences or [None] * len(examples)
    return Comparison(
        TASK,
        examples,
        {model: list(map(Prediction, outputs, known)) for model, outputs in texts.items()},
    )


def figures_of(comparison: Comparison, train_references: set[str] | None = None) -> Figures:
    """What the page writes, with the task's own baselines and slices."""
    examples = comparison.examples
    baselines = Comparison(TASK, examples, TASK.baselines(examples, None))
    slices: list[Slice] = list(TASK.slices(examples, train_references))
    return figures(comparison, baselines, slices)


def test_figures_are_of_one_piece() -> None:
    report = figures_of(compared(questions()), {"person 1"})
    assert list(report) == ["primary_metric", "scores", "intervals", "paired", "slices"]
    assert report["primary_metric"] == "f1"
    scores = report["scores"]
    assert set(scores) == {"candidate", "champion", "untuned", "always abstain"}
    assert scores["candidate"]["f1"] == 75.0
    assert (scores["always abstain"]["HasAns_f1"], scores["always abstain"]["f1"]) == (0.0, 25.0)
    for model, intervals in report["intervals"].items():
        assert set(intervals) == {"exact", "f1", "HasAns_f1", "NoAns_f1"}
        for name, (low, high) in intervals.items():
            assert low - 1e-9 <= scores[model][name] <= high + 1e-9
    assert report["intervals"]["candidate"]["f1"] == pytest.approx([75.0, 75.0])
    for other, test in report["paired"].items():
        assert test["f1_difference"] == scores["candidate"]["f1"] - scores[other]["f1"]
        assert test["interval"][0] <= test["f1_difference"] <= test["interval"][1]
    assert set(report["paired"]) == {"champion", "untuned", "always abstain"}
    assert report["paired"]["champion"]["p_value"] > 0.05 > report["paired"]["untuned"]["p_value"]
    for name in ("answerable", "question word", "context length", "article"):
        parts = [part for part in report["slices"] if part["slice"] == name]
        mean = sum(part["f1"]["champion"] * part["examples"] for part in parts) / 24
        assert mean == pytest.approx(scores["champion"]["f1"])
    seen = {
        part["value"]: part for part in report["slices"] if part["slice"] == "answer seen in train"
    }
    assert (seen["seen"]["examples"], seen["seen"]["groups"]) == (6, 6)
    assert set(seen["seen"]["f1"]) == {"candidate", "champion", "untuned"}


def test_one_group_gives_no_intervals() -> None:
    report = figures_of(compared(questions(articles=1)))
    assert report["intervals"] == {model: {} for model in report["scores"]}
    assert report["paired"] == {}


def test_no_interval_of_a_measure_without_examples() -> None:
    answerable = [example for example in questions() if example.references]
    report = figures_of(compared(answerable))
    for model, intervals in report["intervals"].items():
        assert set(intervals) == {"exact", "f1", "HasAns_f1"}
        assert "NoAns_f1" not in report["scores"][model]
        assert intervals["HasAns_f1"] == pytest.approx(intervals["f1"])


def test_verdicts_and_worst_errors() -> None:
    inputs = {"question": "", "context": ""}
    gold = [["red dog"], ["red dog"], ["red dog"], ["red dog"], [], []]
    examples = [Example(str(n), "article", inputs, references) for n, references in enumerate(gold)]
    texts = {"m": ["Red dog!", "red", "cat", "", "cat", ""]}
    result = compare_texts(examples, texts)
    assert [result.verdict("m", n) for n in range(6)] == [*Verdict, Verdict.RIGHT]
    assert result.worst("m", 3) == [2, 3, 4]
    assert result.worst("m", 2) == [2, 3]
    sure = compare_texts(examples, texts, [1, 0.9, 0.2, 0.6, 0.5, 1])
    assert sure.worst("m") == [3, 4, 1, 2]


def test_tables_have_the_inputs_and_labels_of_the_task() -> None:
    comparison = compared(questions())
    assert comparison.table()[0] == {
        "model": "candidate", "EM": 75.0, "F1": 75.0, "HasAns F1": 66.67, "NoAns F1": 100.0,
    }  # fmt: skip
    (error,) = comparison.errors("untuned", 1)
    assert list(error) == ["question", "gold", "answer", "context"]
    assert error["gold"] == "person 0"
    rows = comparison.samples("candidate")
    assert [list(row) for row in rows] == [["question", "gold", "answer", "F1"]] * 8
    assert [row["gold"] for row in rows][3:5] == ["person 0", "(no answer)"]
    assert rows[-1]["answer"] == "(abstained)"


def test_samples_of_examples_that_all_have_references() -> None:
    answerable = [example for example in questions() if example.references]
    assert len(compared(answerable).samples("candidate")) == 8


def test_frame_has_a_row_for_each_example() -> None:
    comparison = compared(questions())
    frame = comparison.to_frame()
    assert list(frame) == [
        "id", "group", "question", "context", "references",
        "candidate", "candidate_exact", "candidate_f1", "candidate_confidence",
        "champion", "champion_exact", "champion_f1", "champion_confidence",
        "untuned", "untuned_exact", "untuned_f1",
    ]  # fmt: skip
    assert frame["references"][0] == ["person 0"]
    assert 100 * frame["champion_f1"].mean() == pytest.approx(
        comparison.scores["champion"].figures["f1"]
    )


def test_confidence_counts_only_where_all_are_known() -> None:
    examples = questions(articles=1)
    comparison = compare_texts(examples, {"m": ["x"] * 4}, [0.5, None, 0.5, 0.5])
    assert comparison.confidences("m") == []
    assert "m_confidence" not in comparison.to_frame()
    assert math.isclose(comparison.scores["m"].figures["exact"], 0)
