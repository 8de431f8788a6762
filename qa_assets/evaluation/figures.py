"""What `report.json` holds: scores with their intervals, paired differences, and slices.

Percent in full precision. The gate that promotes models reads it, as do people's own tools.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qa_assets.core.descriptions import Metrics
from qa_assets.core.examples import Scores
from qa_assets.core.slicing import Slice
from qa_assets.evaluation import bootstrap
from qa_assets.evaluation.comparison import Comparison

CANDIDATE, CHAMPION, UNTUNED = "candidate", "champion", "untuned"
_FEWEST_GROUPS = 5  # of a slice that an interval is given for
_SLICE_RESAMPLES = 2_000

Figures = dict[str, Any]


def figures(comparison: Comparison, baselines: Comparison, slices: Sequence[Slice]) -> Figures:
    """The figures of models, and of baselines that need none, on the same examples.

    Returns:
        `primary_metric`: its name. `scores`: the figures by model or baseline. `intervals`: by
        model or baseline the 95 % intervals of the measures that are shown and have a value for
        each example; none where there is one group only. `paired`: by model or baseline how
        far the candidate is ahead: `<primary>_difference`, its `interval` and `p_value`.
        `slices`: rows of `slice, value, examples, groups` and `<primary>` by model. Percent.
    """
    metrics = comparison.task.metrics
    scores = {**comparison.scores, **baselines.scores}
    groups = [example.group for example in comparison.examples]
    values = {model: np.array(comparison.primary(model)) for model in comparison.scores}
    result: Figures = {
        "primary_metric": metrics.primary,
        "scores": {model: model_scores.figures for model, model_scores in scores.items()},
        "intervals": {model: {} for model in scores},
        "paired": {},
        "slices": [
            {
                "slice": name,
                "value": value,
                "examples": len(numbers),
                "groups": len({groups[number] for number in numbers}),
                metrics.primary: {
                    model: float(100 * primary[numbers].mean()) for model, primary in values.items()
                },
            }
            for name, value, numbers in slices
        ],
    }
    if len(set(groups)) > 1:
        _resample(result, scores, groups, metrics)
    return result


def _resample(
    result: Figures, scores: Mapping[str, Scores], groups: Sequence[str], metrics: Metrics
) -> None:
    """Add intervals and paired tests, all from the same draws."""
    measured = {
        (model, name): np.array(model_scores.rows[name])
        for model, model_scores in scores.items()
        for name in dict.fromkeys((*metrics.shown, metrics.primary))
        if name in model_scores.figures and name in model_scores.rows
    }
    values = np.stack(list(measured.values()), axis=1)
    # which examples a measure has values for: a few patterns for all models and measures
    weights, pattern = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    columns = np.concatenate([weights, np.nan_to_num(values)], axis=1)
    sums = bootstrap.resampled_sums(groups, columns)
    counts, totals = np.split(sums, [weights.shape[1]], axis=1)
    with np.errstate(invalid="ignore"):  # a draw may lack all examples of a measure
        percent = 100 * totals / counts[:, pattern.reshape(-1)]
    means = dict(zip(measured, percent.T, strict=True))
    for (model, name), resampled in means.items():
        result["intervals"][model][name] = bootstrap.interval(resampled)
    primary = metrics.primary
    for other in scores:
        if other != CANDIDATE and CANDIDATE in scores:
            tested = bootstrap.paired(
                scores[CANDIDATE].figures[primary] - scores[other].figures[primary],
                means[CANDIDATE, primary] - means[other, primary],
            )
            result["paired"][other] = {
                f"{primary}_difference": tested.difference,
                "interval": tested.interval,
                "p_value": tested.p_value,
            }


def slice_intervals(
    comparison: Comparison, model: str, slices: Sequence[Slice]
) -> list[list[float] | None]:
    """The 95 % interval of a model's primary metric on each slice; None where groups are few."""
    values = np.array(comparison.primary(model))

    def interval(numbers: Sequence[int]) -> list[float] | None:
        groups = [comparison.examples[number].group for number in numbers]
        if len(set(groups)) < _FEWEST_GROUPS:
            return None
        columns = np.stack([np.ones(len(numbers)), values[numbers]], axis=1)
        count, total = bootstrap.resampled_sums(groups, columns, _SLICE_RESAMPLES).T
        return bootstrap.interval(100 * total / count)

    return [interval(numbers) for _, _, numbers in slices]
