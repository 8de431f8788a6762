"""When to abstain: the mathematics from margins and scores to a bias, and its cross-validation.

Plain numbers in and out: no model, no files. Of each row there are

- its margin: the logit of abstaining less the best other one;
- answered and abstained: its score if the model answers, and if it abstains;
- null: whether to abstain is right.
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
    """The effect on a fold of bias and temperature chosen on the others.

    Attributes:
        groups: number of groups in the fold.
        rows: number of rows.
        bias: as chosen.
        f1_before: mean score in percent without the bias, whatever the metric.
        f1_after: with it.
        nll_before: `log_loss` of the model's own probability.
        nll_after: of the calibrated one.
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

    All biases between two neighbouring margins decide alike. Such an interval is represented by 0
    if it holds 0, else by its middle; of equally good biases that nearest to 0 is taken.

    Returns:
        The bias, the mean score at a bias of 0, and the mean score at the bias.
    """
    rows = sorted(zip(margins, answered, abstained, strict=True), reverse=True)
    biases = sorted({-margin for margin in margins})
    # ends for the outermost intervals, so that they have a middle
    edges = [min(0.0, biases[0]) - 2.0, *biases, max(0.0, biases[-1]) + 2.0]
    before = _mean_score(0.0, *zip(*rows, strict=True))
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
    """The temperature that makes sigmoid((margin + bias) / temperature) most likely.

    With the smoothed targets of Platt (1999), so that rows that are separable without error give a
    temperature above 0. A second offset, beside the bias, was tried: it was better by 0.01 nats on
    groups like those that it was fitted on, and worse by 0.02 where abstaining is right more often.
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
    """Cross-validate the choice of a bias on whole groups that are held out in turn.

    There are as many folds as asked for or as there are groups, and none of a single group.
    """
    from sklearn.model_selection import GroupKFold

    count = min(folds, len(set(groups)))
    if count < 2:
        return []
    columns = margins, answered, abstained, null, groups

    def rows(numbers: Any) -> list[list[Any]]:
        return [[column[number] for number in numbers] for column in columns]

    result = []
    for chosen_on, held_out in GroupKFold(count).split(margins, groups=groups):
        *scores, is_null, _ = rows(chosen_on)
        bias, _, _ = sweep(*scores)
        temperature = fit_temperature(scores[0], is_null, bias)
        *scores, is_null, held_out_groups = rows(held_out)
        result.append(
            Fold(
                groups=len(set(held_out_groups)),
                rows=len(held_out),
                bias=bias,
                f1_before=100 * _mean_score(0.0, *scores),
                f1_after=100 * _mean_score(bias, *scores),
                nll_before=log_loss(scores[0], is_null, 0.0, 1.0),
                nll_after=log_loss(scores[0], is_null, bias, temperature),
            )
        )
    return result


def _mean_score(
    bias: float, margins: Sequence[float], answered: Sequence[float], abstained: Sequence[float]
) -> float:
    rows = zip(margins, answered, abstained, strict=True)
    return sum(null if margin + bias > 0 else answer for margin, answer, null in rows) / len(
        margins
    )


def risk_coverage(margins: Sequence[float], answered: Sequence[float]) -> list[dict[str, float]]:
    """The risk-coverage curve of El-Yaniv and Wiener (2010), the smallest margins first.

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
