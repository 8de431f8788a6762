"""What `report.json` holds: scores with their intervals, paired differences, and slices.

Percent in full precision. The gate that promotes models reads it, as do people's own tools.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qa_assets.evaluation import bootstrap
from qa_assets.evaluation.bootstrap import Floats
from qa_assets.evaluation.comparison import Comparison, compare
from qa_assets.tasks.question_answering import slices

CANDIDATE, CHAMPION, UNTUNED = "candidate", "champion", "untuned"
ALWAYS_ABSTAIN = "always abstain"
_MEASURES = ("exact", "f1", "HasAns_f1", "NoAns_f1")
_FEWEST_ARTICLES = 5  # of a slice that an interval is given for
_SLICE_RESAMPLES = 2_000

Figures = dict[str, Any]


def figures(compared: Comparison, train_answers: Collection[str] | None = None) -> Figures:
    """The figures of models on the same questions.

    Args:
        compared: answers of `candidate`, and of `champion` and `untuned` where there are such.
        train_answers: normalised answers that the candidate learnt from.

    Returns:
        `scores`: the metric by model, `always abstain` among them. `intervals`: by model the 95 %
        intervals of `exact`, `f1`, `HasAns_f1`, `NoAns_f1`; none where there is one article only.
        `paired`: by model that the candidate is compared with its `f1_difference`, the difference's
        `interval` and `p_value`. `slices`: rows of `slice, value, questions, articles` and
        `f1` by model. Percent.
    """
    rows = compared.rows
    abstaining = compare(rows, {ALWAYS_ABSTAIN: [""] * len(rows)})
    outcomes = {
        model: _Outcomes(
            np.array(source.column(model, "exact")), np.array(source.column(model, "f1"))
        )
        for source in (compared, abstaining)
        for model in source.scores
    }
    articles = [str(row["title"]) for row in rows]
    result: Figures = {
        "scores": compared.scores | abstaining.scores,
        "intervals": {model: {} for model in outcomes},
        "paired": {},
        "slices": [
            {
                "slice": name,
                "value": value,
                "questions": len(numbers),
                "articles": len({articles[number] for number in numbers}),
                "f1": {
                    model: float(100 * outcomes[model].f1[numbers].mean())
                    for model in compared.scores
                },
            }
            for name, value, numbers in slices.slices(rows, train_answers)
        ],
    }
    if len(set(articles)) > 1:
        _resample(result, outcomes, articles, np.array([bool(row["references"]) for row in rows]))
    return result


@dataclass(frozen=True)
class _Outcomes:
    """A model's scores from 0 to 1 by question."""

    exact: Floats
    f1: Floats


def _resample(
    result: Figures,
    outcomes: Mapping[str, _Outcomes],
    articles: list[str],
    answerable: NDArray[np.bool_],
) -> None:
    """Add intervals and paired tests, all from the same draws."""
    weights = np.stack([np.ones(len(articles)), answerable, ~answerable], axis=1)
    columns = [weights]
    for scores in outcomes.values():
        f1 = scores.f1
        columns.append(np.stack([scores.exact, f1, f1 * answerable, f1 * ~answerable], axis=1))
    sums = bootstrap.resampled_sums(articles, np.concatenate(columns, axis=1))
    every, has, no = sums[:, :3].T
    means: dict[str, Floats] = {}
    for position, model in enumerate(outcomes):
        part = sums[:, 3 + 4 * position :][:, :4]
        with np.errstate(invalid="ignore"):  # a draw may lack a kind of question
            percent = 100 * part / np.stack([every, every, has, no], axis=1)
        means[model] = percent[:, 1]
        for column, measure in enumerate(_MEASURES):
            if measure in result["scores"][model]:
                result["intervals"][model][measure] = bootstrap.interval(percent[:, column])
    for other in (CHAMPION, UNTUNED):
        if other in outcomes and CANDIDATE in outcomes:
            scores = result["scores"]
            tested = bootstrap.paired(
                scores[CANDIDATE]["f1"] - scores[other]["f1"], means[CANDIDATE] - means[other]
            )
            result["paired"][other] = {
                "f1_difference": tested.difference,
                "interval": tested.interval,
                "p_value": tested.p_value,
            }


def slice_intervals(
    compared: Comparison, model: str, train_answers: Collection[str] | None = None
) -> list[list[float] | None]:
    """The 95 % interval of a model's F1 on each of the slices; None where articles are few."""
    titles = [str(row["title"]) for row in compared.rows]
    f1 = np.array(compared.column(model, "f1"))
    found: list[list[float] | None] = []
    for _, _, numbers in slices.slices(compared.rows, train_answers):
        articles = [titles[number] for number in numbers]
        if len(set(articles)) < _FEWEST_ARTICLES:
            found.append(None)
            continue
        columns = np.stack([np.ones(len(numbers)), f1[numbers]], axis=1)
        every, total = bootstrap.resampled_sums(articles, columns, _SLICE_RESAMPLES).T
        found.append(bootstrap.interval(100 * total / every))
    return found
