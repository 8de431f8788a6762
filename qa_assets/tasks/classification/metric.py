"""Accuracy, macro-F1, expected calibration error, and recall of what is out of scope."""

import math
from collections.abc import Callable, Sequence

from qa_assets.core.examples import Example, Prediction, Scores
from qa_assets.core.reliability import calibration_error


def score(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    labels_of: Callable[[str], Sequence[str]],
) -> Scores:
    """Figures in percent, and the accuracy of each row: 1 where its labels are exactly right.

    `macro_f1` is the mean F1 of the labels that occur in references or predictions, what is out of
    scope among them; `calibration_error` is there where confidences are.

    Raises:
        ValueError: lengths differ, or there is nothing to score.
    """
    if len(examples) != len(predictions) or not examples:
        raise ValueError(f"{len(predictions)} predictions for {len(examples)} texts")
    expected = [frozenset(example.references) for example in examples]
    predicted = [frozenset(labels_of(prediction.text)) for prediction in predictions]
    accuracy = [float(pair[0] == pair[1]) for pair in zip(expected, predicted, strict=True)]
    rows = {
        "accuracy": accuracy,
        "in_scope_accuracy": [
            value if labels else math.nan for value, labels in zip(accuracy, expected, strict=True)
        ],
        "out_of_scope_recall": [
            math.nan if labels else value for value, labels in zip(accuracy, expected, strict=True)
        ],
    }
    figures = {
        name: 100 * sum(known) / len(known)
        for name, values in rows.items()
        if (known := [value for value in values if not math.isnan(value)])
    }
    figures["macro_f1"] = 100 * macro_f1(expected, predicted)
    confidences = [prediction.confidence for prediction in predictions]
    if all(confidence is not None for confidence in confidences):
        sure = [confidence or 0.0 for confidence in confidences]
        figures["calibration_error"] = 100 * calibration_error(sure, accuracy)
    figures["total"] = len(examples)
    return Scores(figures, rows)


def macro_f1(expected: Sequence[frozenset[str]], predicted: Sequence[frozenset[str]]) -> float:
    """The mean over labels of F1, from 0 to 1; no label at all counts as one of its own."""
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    nothing = frozenset({""})
    binarizer = MultiLabelBinarizer().fit([labels or nothing for labels in (*expected, *predicted)])
    truth, guess = (
        binarizer.transform([labels or nothing for labels in rows])
        for rows in (expected, predicted)
    )
    return float(f1_score(truth, guess, average="macro", zero_division=0.0))
