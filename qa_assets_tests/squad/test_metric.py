"""The metric against figures worked out by hand and, where the data is there, official ones."""

import json

import pytest

from qa_assets.squad.metric import f1_each, normalize, score, token_f1
from qa_assets_tests.shared_data import SQUAD_DIR, requires_squad


def test_normalize_strips_case_articles_punctuation_and_space() -> None:
    assert normalize("  The  U.S. and a,  dog ") == "us and dog"


def test_token_f1_counts_shared_tokens() -> None:
    assert token_f1("red green blue", "green blue sky") == pytest.approx(2 / 3)
    assert token_f1("", "something") == 0.0
    assert token_f1("the", "") == 1.0  # both normalise to nothing


def test_best_reference_counts_and_empty_ones_do_not() -> None:
    assert f1_each("in 1066", ["1066", "in 1066"]) == 1.0
    assert f1_each("", ["the"]) == 1.0


def test_score_splits_by_answerable() -> None:
    result = score(["Rollo", "Paris", "", "x"], [["Rollo"], ["London"], [], []])
    assert result["total"] == 4
    assert result["exact"] == 50.0
    assert (result["HasAns_exact"], result["HasAns_total"]) == (50.0, 2)
    assert (result["NoAns_f1"], result["NoAns_total"]) == (50.0, 2)


def test_score_leaves_out_an_empty_part() -> None:
    assert "NoAns_f1" not in score(["a b"], [["b"]])


def test_score_refuses_different_lengths() -> None:
    with pytest.raises(ValueError, match="1 predictions for 2 questions"):
        score(["a"], [["a"], []])


@requires_squad
def test_official_figures() -> None:
    content = json.loads((SQUAD_DIR / "dev-v2.0.json").read_text())
    told = json.loads((SQUAD_DIR / "parity" / "predictions_nlnet.json").read_text())
    questions = [
        question
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    result = score(
        [told[question["id"]] for question in questions],
        [[answer["text"] for answer in question["answers"]] for question in questions],
    )
    assert result["exact"] == pytest.approx(75.82750779078582, abs=1e-10)
    assert result["f1"] == pytest.approx(78.7777677038145, abs=1e-10)
    assert result["HasAns_f1"] == pytest.approx(75.52773885752187, abs=1e-10)
    assert result["NoAns_f1"] == pytest.approx(82.01850294365012, abs=1e-10)


def test_evaluate_module_agrees() -> None:
    from qa_assets.squad.evaluate_module import SquadV2

    answers = [{"text": ["Rollo"], "answer_start": [3]}, {"text": [], "answer_start": []}]
    predictions = [("Rollo", 0.1), ("nonsense", 0.9)]
    result = SquadV2().compute(
        predictions=[
            {"id": str(number), "prediction_text": text, "no_answer_probability": probability}
            for number, (text, probability) in enumerate(predictions)
        ],
        references=[{"id": str(number), "answers": gold} for number, gold in enumerate(answers)],
        no_answer_threshold=0.5,
    )
    assert result == score(["Rollo", ""], [["Rollo"], []])
