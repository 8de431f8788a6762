"""Intervals and paired tests by resampling whole groups.

Examples of one group, such as questions of one article, share texts and difficulty, so that they
are no independent draws; groups are. Percentile intervals (Efron and Tibshirani, 1993).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_ENDS = (2.5, 97.5)
_MOST_COUNTS = 4_000_000  # held at a time

Floats = NDArray[np.float64]


def resampled_sums(
    groups: Sequence[str], columns: Floats, resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """The sums of columns over groups drawn with replacement, as many as there are.

    `columns` has the shape [examples, measures], the result [resamples, measures]. The same seed
    and groups give the same draws.
    """
    _, numbers = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    by_group = np.stack([np.bincount(numbers, weights=column) for column in columns.T], axis=1)
    count = len(by_group)
    random = np.random.default_rng(seed)
    at_a_time = max(1, _MOST_COUNTS // count)
    sums = []
    for start in range(0, resamples, at_a_time):
        size = min(at_a_time, resamples - start)
        sums.append(random.multinomial(count, np.full(count, 1 / count), size=size) @ by_group)
    return np.concatenate(sums)


def interval(values: Floats) -> list[float]:
    """Lower and upper end of the 95 % percentile interval; NaN is left out."""
    return [float(end) for end in np.nanpercentile(values, _ENDS)]


@dataclass(frozen=True)
class Paired:
    """The mean of one model less that of another, on the same examples.

    `p_value` is two-sided: twice the share of resamples in which the difference changes its sign.
    """

    difference: float
    interval: list[float]
    p_value: float


def paired(difference: float, resampled: Floats) -> Paired:
    """The paired test of an observed mean difference and its resampled values."""
    below, above = int((resampled <= 0).sum()), int((resampled >= 0).sum())
    p_value = min(1.0, 2 * (min(below, above) + 1) / (len(resampled) + 1))
    return Paired(difference, interval(resampled), p_value)
