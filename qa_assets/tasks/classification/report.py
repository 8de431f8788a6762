"""Tables of the report that only classification has: confusions, labels, and abstention."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from qa_assets.core.descriptions import Section
from qa_assets.core.examples import Example, Prediction

_CONFUSIONS = 30
_BIASES = (-6.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
_NONE = "(none fits)"


def sections(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    split_labels: Callable[[str], list[str]],
    out_of_scope: str | None,
) -> list[Section]:
    """The tables.

    Args:
        examples: of the test split.
        predictions: the candidate's.
        split_labels: the labels of a prediction's text.
        out_of_scope: the label that abstains, if there is one.
    """
    pairs = [
        (example.references or (_NONE,), split_labels(prediction.text) or [_NONE])
        for example, prediction in zip(examples, predictions, strict=True)
    ]
    result = [_confusions(pairs), _labels(pairs)]
    if out_of_scope and all(out_of_scope in row.probabilities for row in predictions):
        result.append(_trade_off(examples, predictions, out_of_scope))
    return result


def _confusions(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Section:
    counts = Counter(
        (" ".join(expected), " ".join(predicted))
        for expected, predicted in pairs
        if set(expected) != set(predicted)
    )
    rows = [
        {"label": expected, "predicted": predicted, "texts": count}
        for (expected, predicted), count in counts.most_common(_CONFUSIONS)
    ]
    return Section("Confusions", "The most frequent wrong labels.", rows)


def _labels(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Section:
    right, expected, predicted = Counter[str](), Counter[str](), Counter[str]()
    for gold, guess in pairs:
        expected.update(gold)
        predicted.update(guess)
        right.update(set(gold) & set(guess))
    rows = [
        {
            "label": label,
            "texts": count,
            "precision": round(100 * right[label] / max(1, predicted[label]), 1),
            "recall": round(100 * right[label] / count, 1),
        }
        for label, count in expected.items()
    ]
    rows.sort(key=lambda row: (float(str(row["recall"])), str(row["label"])))
    return Section("Scores by label", "In percent, the lowest recall first.", rows)


def _trade_off(
    examples: Sequence[Example], predictions: Sequence[Prediction], out_of_scope: str
) -> Section:
    """In-scope accuracy against out-of-scope recall, as the bias of abstention moves."""
    margins, right = [], []
    for example, prediction in zip(examples, predictions, strict=True):
        others = {
            label: value
            for label, value in prediction.probabilities.items()
            if label != out_of_scope
        }
        best = max(others, key=others.__getitem__)
        margins.append(_log(prediction.probabilities[out_of_scope]) - _log(others[best]))
        right.append([best] == list(example.references))
    inside = [number for number, example in enumerate(examples) if example.references]
    outside = [number for number, example in enumerate(examples) if not example.references]
    rows = []
    for bias in _BIASES:
        kept = sum(right[n] and margins[n] + bias <= 0 for n in inside)
        caught = sum(margins[n] + bias > 0 for n in outside)
        rows.append(
            {
                "added bias": bias,
                "in-scope accuracy": round(100 * kept / max(1, len(inside)), 2),
                "out-of-scope recall": round(100 * caught / max(1, len(outside)), 2),
            }
        )
    note = (
        "What a bias on the logit of abstaining, added to the calibrated one, would do on these "
        "texts; 0 is the candidate as it is."
    )
    return Section("Abstention against accuracy", note, rows)


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-30))
