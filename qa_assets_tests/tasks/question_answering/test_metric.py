"""The metric against figures worked out by hand, another implementation, and official ones."""

import json
import random
import string
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_assets.tasks.question_answering.metric import (
    exact_each,
    f1_each,
    normalize,
    score,
    token_f1,
)
from qa_assets_tests.shared_data import SQUAD_DIR, requires_squad

WORDS = st.sampled_from(
    ["the", "a", "an", "The", "U.S.", "dog", "dog's", "Köln", "ſ", "İ", "ß", "3.5", "“quoted”"]
    + ["a-an", "the_dog", "\u00a0", "\u200b", "\t\n", "...", "東京", "😀", "e\u0301", "é", "", "()"]
)
TEXTS = st.one_of(st.lists(WORDS, max_size=6).map(" ".join), st.text(max_size=12))
QUESTIONS = st.lists(
    st.tuples(TEXTS, st.lists(TEXTS, max_size=3), st.integers(0, 4).map(lambda n: n / 4)),
    min_size=1,
    max_size=8,
)


def tokens(text: str) -> list[str]:
    """Another way to normalise: word by word, character by character, without expressions."""
    kept = "".join(" " if c.isspace() else c for c in text.lower() if c not in string.punctuation)
    parts, word = [], ""
    for character in [*kept, " "]:
        if character.isalnum() or character == "_":
            word += character
        else:
            # an article leaves a gap, so that its neighbours do not become one word
            parts += [" " if word in ("a", "an", "the") else word, character]
            word = ""
    return "".join(parts).split()


def overlap(said: list[str], gold: list[str]) -> Fraction:
    """Another way to F1: Dice's coefficient of the multisets, by striking out what is matched."""
    if not said or not gold:
        return Fraction(int(said == gold))
    left, shared = list(gold), 0
    for token in said:
        if token in left:
            left.remove(token)
            shared += 1
    return Fraction(2 * shared, len(said) + len(gold))


def best(said: str, references: list[str]) -> tuple[Fraction, Fraction]:
    """Exact match and F1 of one answer."""
    gold = [one for one in map(tokens, references) if one] or [[]]
    return (
        Fraction(int(any(tokens(said) == one for one in gold))),
        max(overlap(tokens(said), one) for one in gold),
    )


@given(QUESTIONS)
def test_agrees_with_another_implementation(
    questions: list[tuple[str, list[str], float]],
) -> None:
    said, references, probabilities = map(list, zip(*questions, strict=True))
    each = [best(text, gold) for text, gold, _ in questions]
    for (text, gold, _), (exact, f1) in zip(questions, each, strict=True):
        assert exact_each(text, gold) == exact
        assert f1_each(text, gold) == pytest.approx(float(f1), abs=1e-15)
    result = score(said, references, probabilities, 0.6)
    for prefix, wanted in {"": (True, False), "HasAns_": (True,), "NoAns_": (False,)}.items():
        part = [row for row, gold in enumerate(references) if bool(gold) in wanted]
        assert result.get(f"{prefix}total", 0) == len(part)
        for column, name in enumerate(("exact", "f1")):
            values = [
                Fraction(int(not references[row]))
                if probabilities[row] > 0.6
                else each[row][column]
                for row in part
            ]
            if part:
                mean = float(100 * sum(values) / len(part))
                assert result[prefix + name] == pytest.approx(mean, abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from(["x", "y", ""]), st.booleans()), min_size=1, max_size=8))
def test_best_threshold_is_found_by_trying_all(questions: list[tuple[str, bool]]) -> None:
    order = list(range(len(questions)))
    random.Random(len(questions)).shuffle(order)
    probabilities = [place / len(order) for place in order]
    said = [text for text, _ in questions]
    references = [["x"] if answerable else [] for _, answerable in questions]
    result = score(said, references, probabilities)
    tried = {
        threshold: score(said, references, probabilities, threshold)["f1"]
        for threshold in [-1.0, *probabilities]
    }
    assert result["best_f1"] == pytest.approx(max(tried.values()))
    if result["best_f1_thresh"]:
        assert tried[result["best_f1_thresh"]] == pytest.approx(result["best_f1"])


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
    with pytest.raises(ValueError, match="1 probabilities for 2 predictions"):
        score(["a", "b"], [["a"], []], [0.5])


@requires_squad
def test_official_figures_to_the_last_digit_within_seconds() -> None:
    content = json.loads((SQUAD_DIR / "dev-v2.0.json").read_text())
    told = json.loads((SQUAD_DIR / "parity" / "predictions_nlnet.json").read_text())
    questions = [
        question
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    start = time.process_time()
    result = score(
        [told[question["id"]] for question in questions],
        [[answer["text"] for answer in question["answers"]] for question in questions],
    )
    assert time.process_time() - start < 3
    assert result == {
        "exact": 75.82750779078582,
        "f1": 78.7777677038145,
        "total": 11873,
        "HasAns_exact": 69.61875843454791,
        "HasAns_f1": 75.52773885752187,
        "HasAns_total": 5928,
        "NoAns_exact": 82.01850294365012,
        "NoAns_f1": 82.01850294365012,
        "NoAns_total": 5945,
    }


def test_evaluate_module_agrees() -> None:
    from qa_assets.tasks.question_answering.evaluate_module import SquadV2

    answers = [{"text": ["Rollo"], "answer_start": [3]}, {"text": [], "answer_start": []}]
    predictions = [("Rollo", 0.125), ("nonsense", 0.875)]
    asked = [
        {"id": str(number), "prediction_text": text, "no_answer_probability": probability}
        for number, (text, probability) in enumerate(predictions)
    ]
    references = [{"id": str(number), "answers": gold} for number, gold in enumerate(answers)]
    result = SquadV2().compute(
        predictions=asked[::-1], references=references, no_answer_threshold=0.5
    )
    assert result == {
        **score(["Rollo", ""], [["Rollo"], []]),
        "best_exact": 100.0,
        "best_exact_thresh": 0.125,
        "best_f1": 100.0,
        "best_f1_thresh": 0.125,
    }
    with pytest.raises(ValueError, match="1 predictions without a question, 1 questions without"):
        SquadV2().compute(predictions=[asked[0] | {"id": "9"}], references=references[:1])
