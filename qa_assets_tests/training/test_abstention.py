"""When to abstain: the best bias, what it is worth elsewhere, and probabilities that hold."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_assets.training import abstention

SCORES = st.sampled_from([0.0, 0.5, 1.0])
ROWS = st.lists(
    st.tuples(st.integers(-8, 8).map(lambda n: n / 4), SCORES, SCORES), min_size=1, max_size=12
)


def mean(rows: list[tuple[float, float, float]], bias: float) -> float:
    return sum(null if margin + bias > 0 else answer for margin, answer, null in rows) / len(rows)


@given(ROWS)
def test_sweep_finds_what_trying_every_bias_finds(rows: list[tuple[float, float, float]]) -> None:
    margins, answered, abstained = zip(*rows, strict=True)
    bias, before, after = abstention.sweep(margins, answered, abstained)
    tried = [step / 8 for step in range(-40, 41)]  # between and beyond all margins
    best = max(mean(rows, one) for one in tried)
    assert after == pytest.approx(best)
    assert mean(rows, bias) == pytest.approx(after)
    assert before == pytest.approx(mean(rows, 0.0))
    if before == pytest.approx(best):
        assert bias == 0


def test_sweep_takes_the_nearest_of_equals() -> None:
    bias, before, after = abstention.sweep([0.5, -0.25, -3.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0])
    assert [bias, before, after] == pytest.approx([4.0, 0.0, 2 / 3])
    bias, _, after = abstention.sweep([0.5, -9.0], [1.0, 0.0], [0.0, 1.0])
    assert [bias, after] == pytest.approx([-1.5, 0.5])


def test_temperature_is_found_again() -> None:
    """From margins and whether there is no answer, drawn with the probability that they say."""
    chance = random.Random(1)
    margins = [chance.gauss(0, 3) for _ in range(20_000)]
    null = [chance.random() < 1 / (1 + math.exp(-(margin + 1.0) / 2.5)) for margin in margins]
    found = abstention.fit_temperature(margins, null, bias=1.0)
    assert found == pytest.approx(2.5, rel=0.05)
    assert abstention.log_loss(margins, null, 1.0, found) < abstention.log_loss(
        margins, null, 1.0, 1.0
    )


@given(st.lists(st.tuples(st.floats(-30, 30), st.booleans()), min_size=1, max_size=20))
def test_temperature_is_finite(rows: list[tuple[float, bool]]) -> None:
    """Rows that are all of one kind, or told apart without error, included."""
    margins, null = zip(*rows, strict=True)
    assert 0.01 < abstention.fit_temperature(margins, null, bias=0.0) < 100


def test_folds_keep_articles_apart_and_measure_what_was_not_seen() -> None:
    """A bias of 2 is right in all articles but one, where it makes every answer wrong."""
    margins, answered, abstained, groups = [], [], [], []
    for article in range(6):
        odd = article == 0
        for _ in range(10):
            margins += [-1.0, -3.0]
            answered += [1.0, 1.0] if odd else [0.0, 1.0]
            abstained += [0.0, 0.0] if odd else [1.0, 0.0]
            groups += [f"article {article}"] * 2
    null = [score == 1.0 for score in abstained]
    folds = abstention.cross_fit(margins, answered, abstained, null, groups, folds=6)
    assert [fold.groups for fold in folds] == [1] * 6
    assert sum(fold.rows for fold in folds) == len(margins)
    gains = sorted(fold.f1_after - fold.f1_before for fold in folds)
    assert gains == [-50, 50, 50, 50, 50, 50]
    assert abstention.cross_fit([1.0], [1.0], [0.0], [False], ["only one"]) == []


def test_risk_falls_with_coverage_where_margins_tell() -> None:
    points = abstention.risk_coverage([-3.0, -1.0, -2.0, 4.0], [1.0, 0.5, 1.0, 0.0])
    assert [point["coverage"] for point in points] == [0.25, 0.5, 0.75, 1.0]
    assert [point["risk"] for point in points] == pytest.approx([0, 0, 1 - 2.5 / 3, 1 - 2.5 / 4])
    assert [point["bias"] for point in points] == [3.0, 2.0, 1.0, -4.0]
    assert len(abstention.risk_coverage([0.0] * 1234, [1.0] * 1234)) == 103
