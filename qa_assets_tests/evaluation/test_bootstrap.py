"""Resampling by group, against sums drawn one by one and the normal approximation."""

import numpy as np
import pytest

from qa_assets.evaluation import bootstrap


def test_sums_are_of_whole_groups() -> None:
    sums = bootstrap.resampled_sums(
        ["b", "a", "b"], np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]), resamples=200
    )
    # two draws of group a (2) or b (1 + 4)
    assert {tuple(row) for row in sums} == {(4.0, 40.0), (7.0, 70.0), (10.0, 100.0)}
    share = float((sums[:, 0] == 7.0).mean())
    assert share == pytest.approx(0.5, abs=0.15)


def test_same_seed_same_draws_whatever_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [str(number) for number in range(20)]
    columns = np.arange(20.0)[:, None]
    whole = bootstrap.resampled_sums(groups, columns, 50, seed=3)
    monkeypatch.setattr(bootstrap, "_MOST_COUNTS", 60)
    assert (bootstrap.resampled_sums(groups, columns, 50, seed=3) == whole).all()


def test_interval_is_that_of_the_normal_approximation() -> None:
    """With many groups of several equal examples, which must not count as so many draws."""
    random = np.random.default_rng(1)
    by_group = random.random(400) < 0.7
    groups = [str(number) for number in range(400) for _ in range(5)]
    values = np.repeat(by_group, 5).astype(float)
    sums = bootstrap.resampled_sums(groups, np.stack([values, np.ones(2000)], axis=1))
    low, high = bootstrap.interval(sums[:, 0] / sums[:, 1])
    error = 1.96 * by_group.std() / np.sqrt(400)
    assert low == pytest.approx(by_group.mean() - error, abs=error / 10)
    assert high == pytest.approx(by_group.mean() + error, abs=error / 10)


def test_paired_test_tells_a_difference_from_none() -> None:
    assert bootstrap.paired(0.0, np.zeros(999)).p_value == 1.0
    clear = bootstrap.paired(2.0, np.linspace(1, 3, 999))
    assert clear.p_value == pytest.approx(0.002)
    assert clear.interval == pytest.approx([1.05, 2.95])
    assert bootstrap.paired(-0.5, np.linspace(-2, 1, 999)).p_value == pytest.approx(2 / 3, abs=0.01)
