"""When to abstain: the mathematics from margins and scores to a bias, and its cross-validation.

A margin is the logit of abstaining less the best other one, which is the difference of their log
probabilities. Plain numbers in and out: no model, no files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FOLDS = 5
_POINTS = 100  # of the risk-coverage curve
_LOG_TEMPERATURES = (-4.0, 4.0)


@dataclass(frozen=True)
class Fold:
    """The effect on one fold of what was chosen on the others.

    Attributes:
        groups: number of groups in the fold.
        rows: number of rows.
        bias: as chosen on the other folds.
        f1_before: mean score in percent without the bias; `calibration.json` has the name.
        f1_after: with the bias.
        nll_before: mean negative log-likelihood, in nats, of whether to abstain is right, by the
            model's own probability.
        nll_after: by the calibrated probability.
    """

    groups: int
    rows: int
    bias: float
    f1_before: float
    f1_after: float
    nll_before: float
    nll_after: float


def sweep(
    margins: Sequence[float], answered: Sequence[float], abstained: Sequence[float]
) -> tuple[float, float, float]:
    """The bias that makes the mean score the best, where a row abstains if margin + bias > 0.

    Between two neighbouring margins all biases decide alike: n different margins make n + 1
    intervals. An interval is represented by 0 if it holds 0, else by its middle; of equally good
    biases that nearest to 0 is taken.

    Args:
        margins: by row.
        answered: by row, the score of answering.
        abstained: by row, the score of abstaining.

    Returns:
        The bias, the mean score at a bias of 0, and the mean score at the bias.
    """
    rows = sorted(zip(margins, answered, abstained, strict=True), reverse=True)
    biases = sorted({-margin for margin in margins})
    # the outermost intervals have no end, but a middle all the same
    edges = [min(0.0, biases[0]) - 2.0, *biases, max(0.0, biases[-1]) + 2.0]
    before = sum(null if margin > 0 else answer for margin, answer, null in rows) / len(rows)
    total = sum(answered)
    best, bias_of_best, after = (-1.0, 0.0), 0.0, before
    start = 0
    # in the interval (low, high] those rows abstain whose margin is at least -low
    for low, high in zip(edges, edges[1:], strict=False):
        while start < len(rows) and rows[start][0] >= -low:
            total += rows[start][2] - rows[start][1]
            start += 1
        bias = 0.0 if low < 0 <= high else (low + high) / 2
        # rounded: sums in another order must not break ties
        rank = (round(total / len(rows), 12), -abs(bias))
        if rank > best:
            best, bias_of_best, after = rank, bias, total / len(rows)
    return bias_of_best, before, after


def fit_temperature(margins: Sequence[float], null: Sequence[bool], bias: float) -> float:
    """The temperature that makes `probability` most likely, by negative log-likelihood.

    With the smoothed targets of Platt (1999), so that rows that are separable without error give a
    temperature above 0. A second offset, beside the bias, was tried: it was better by 0.01 nats on
    groups like those that it was fitted on, and worse by 0.02 where abstaining is right more often.

    Args:
        margins: by row.
        null: by row, whether to abstain is right.
        bias: as chosen.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    is_null = np.asarray(null, bool)
    ones, zeros = int(is_null.sum()), int((~is_null).sum())
    target = np.where(is_null, (ones + 1) / (ones + 2), 1 / (zeros + 2)).tolist()
    minimum = minimize_scalar(
        lambda logarithm: log_loss(margins, target, bias, math.exp(logarithm)),
        bounds=_LOG_TEMPERATURES,
        method="bounded",
    )
    return math.exp(minimum.x)


def probability(margins: Sequence[float], bias: float, temperature: float) -> list[float]:
    """The calibrated probability by row that to abstain is right: a sigmoid.

    sigmoid((margin + bias) / temperature) is above one half exactly where the model abstains.
    """
    import numpy as np
    from scipy.special import expit

    values: list[float] = expit((np.asarray(margins, float) + bias) / temperature).tolist()
    return values


def log_loss(
    margins: Sequence[float], null: Sequence[float], bias: float, temperature: float
) -> float:
    """Mean negative log-likelihood, in nats, of whether (1) or not (0) to abstain is right."""
    import numpy as np

    logit = (np.asarray(margins, float) + bias) / temperature
    return float((np.logaddexp(0, logit) - np.asarray(null, float) * logit).mean())


def cross_fit(
    margins: Sequence[float],
    answered: Sequence[float],
    abstained: Sequence[float],
    null: Sequence[bool],
    groups: Sequence[str],
    folds: int = FOLDS,
) -> list[Fold]:
    """Cross-validate the choice of a bias on groups that are held out in turn.

    Args:
        margins: as of `sweep`, like the next two.
        answered: by row, the score of answering.
        abstained: by row, the score of abstaining.
        null: by row, whether to abstain is right.
        groups: by row; a group is never on both sides.
        folds: how many at most; there are no more than groups.

    Returns:
        The folds; none where there are fewer than two groups.
    """
    from sklearn.model_selection import GroupKFold

    count = min(folds, len(set(groups)))
    if count < 2:
        return []
    result = []
    for chosen_on, held_out in GroupKFold(count).split(margins, groups=groups):
        chosen = [_taken(chosen_on, values) for values in (margins, answered, abstained)]
        bias, _, _ = sweep(*chosen)
        temperature = fit_temperature(chosen[0], _taken(chosen_on, null), bias)
        margin, answer, nothing = (
            _taken(held_out, values) for values in (margins, answered, abstained)
        )
        right = _taken(held_out, null)
        result.append(
            Fold(
                groups=len(set(_taken(held_out, groups))),
                rows=len(held_out),
                bias=bias,
                f1_before=100 * mean_score(margin, answer, nothing, 0.0),
                f1_after=100 * mean_score(margin, answer, nothing, bias),
                nll_before=log_loss(margin, right, 0.0, 1.0),
                nll_after=log_loss(margin, right, bias, temperature),
            )
        )
    return result


def _taken(numbers: Any, values: Sequence[Any]) -> list[Any]:
    return [values[number] for number in numbers]


def mean_score(
    margins: Sequence[float], answered: Sequence[float], abstained: Sequence[float], bias: float
) -> float:
    """The mean score of rows that abstain where margin + bias > 0."""
    rows = zip(margins, answered, abstained, strict=True)
    return sum(null if margin + bias > 0 else answer for margin, answer, null in rows) / len(
        margins
    )


def risk_coverage(margins: Sequence[float], answered: Sequence[float]) -> list[dict[str, float]]:
    """The risk-coverage curve of El-Yaniv and Wiener (2010), the smallest margins first.

    Args:
        margins: by row.
        answered: by row, the score of answering, from 0 to 1.

    Returns:
        About a hundred points of `coverage` (share answered), `risk` (1 less the mean score of
        what is answered) and the greatest `bias` at which all of these are answered.
    """
    rows = sorted(zip(margins, answered, strict=True))
    points, total = [], 0.0
    step = max(1, len(rows) // _POINTS)
    for number, (margin, score) in enumerate(rows, 1):
        total += score
        if number % step == 0 or number == len(rows):
            points.append(
                {"coverage": number / len(rows), "risk": 1 - total / number, "bias": -margin}
            )
    return points
