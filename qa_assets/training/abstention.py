"""When to abstain: the mathematics from margins and scores to a bias, and how far to trust it.

A margin is the null token's logit less the best other one, which is the difference of their log
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
    """What was chosen on the other folds does to this one.

    F1 in percent without and with the bias; the mean negative log-likelihood, in nats, of whether a
    question has no answer, by the model's own probability and by the calibrated one.
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

    All biases that decide the same are one interval, and there is one more of those than there are
    different margins. Of an interval 0 is taken if it holds it, else the middle, and of equally
    good biases the one nearest to 0.

    Args:
        margins: by row, the null token's logit less the best other one.
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

    With the smoothed targets of Platt (1999), so that rows that can be told apart without error
    give a temperature above 0. An offset of its own, beside the bias, was tried: on SQuAD it was
    better by 0.01 nats on articles of train and worse by 0.02 on dev, where other shares of the
    questions have no answer.

    Args:
        margins: by row.
        null: by row, whether it has no answer.
        bias: as chosen.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    is_null = np.asarray(null, bool)
    ones, zeros = int(is_null.sum()), int((~is_null).sum())
    target = np.where(is_null, (ones + 1) / (ones + 2), 1 / (zeros + 2)).tolist()
    found = minimize_scalar(
        lambda logarithm: log_loss(margins, target, bias, math.exp(logarithm)),
        bounds=_LOG_TEMPERATURES,
        method="bounded",
    )
    return math.exp(found.x)


def probability(margins: Sequence[float], bias: float, temperature: float) -> list[float]:
    """The calibrated probability of no answer by row: sigmoid((margin + bias) / temperature).

    Above one half exactly where the model abstains.
    """
    import numpy as np
    from scipy.special import expit

    values: list[float] = expit((np.asarray(margins, float) + bias) / temperature).tolist()
    return values


def log_loss(
    margins: Sequence[float], null: Sequence[float], bias: float, temperature: float
) -> float:
    """Mean negative log-likelihood, in nats, of whether (1) or not (0) rows have no answer."""
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
    """What choosing a bias is worth where it was not chosen: on groups held out in turn.

    Args:
        margins: as of `sweep`, like the next two.
        answered: by row, the score of answering.
        abstained: by row, the score of abstaining.
        null: by row, whether it has no answer.
        groups: by row, what must not be on both sides, such as its article.
        folds: how many, or as many as there are groups.

    Returns:
        The folds; none where there are fewer than two groups.
    """
    from sklearn.model_selection import GroupKFold

    count = min(folds, len(set(groups)))
    if count < 2:
        return []
    result = []
    for others, own in GroupKFold(count).split(margins, groups=groups):
        left = [_taken(others, values) for values in (margins, answered, abstained)]
        bias, _, _ = sweep(*left)
        temperature = fit_temperature(left[0], _taken(others, null), bias)
        margin, answer, nothing = (_taken(own, values) for values in (margins, answered, abstained))
        held = _taken(own, null)
        result.append(
            Fold(
                len(set(_taken(own, groups))),
                len(own),
                bias,
                100 * mean_score(margin, answer, nothing, 0.0),
                100 * mean_score(margin, answer, nothing, bias),
                log_loss(margin, held, 0.0, 1.0),
                log_loss(margin, held, bias, temperature),
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
    """How wrong the answers are if only the surest share of questions is answered.

    The curve of El-Yaniv and Wiener (2010), with the smallest margins as the surest.

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
