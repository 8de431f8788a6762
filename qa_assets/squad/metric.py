"""The official SQuAD v2 measures: exact match and F1, also apart for (un)answerable questions.

Follows the evaluation script published with SQuAD 2.0 (Rajpurkar, Jia and Liang, 2018) to the
last digit. A prediction of "" abstains. Plain Python: importing it costs nothing.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower-case `text` and strip punctuation, articles and surplus white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """1.0 where both are equal once normalised, else 0.0."""
    return float(normalize(prediction) == normalize(gold))


def token_f1(prediction: str, gold: str) -> float:
    """F1 over normalised tokens, from 0 to 1; where either has none, 1.0 only if both have none."""
    predicted, expected = normalize(prediction).split(), normalize(gold).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((Counter(predicted) & Counter(expected)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def _gold(references: Sequence[str]) -> Sequence[str]:
    # as the official script: answers that normalise to nothing do not count as answers
    return [text for text in references if normalize(text)] or [""]


def exact_each(prediction: str, references: Sequence[str]) -> float:
    """Best exact match of one prediction over its references (none: the answer is to abstain)."""
    return max(exact_match(prediction, gold) for gold in _gold(references))


def f1_each(prediction: str, references: Sequence[str]) -> float:
    """Best F1 of one prediction over its references (none: the answer is to abstain)."""
    return max(token_f1(prediction, gold) for gold in _gold(references))


def score(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score predictions against references, row by row.

    Args:
        predictions: one text a question, "" to abstain.
        references: the gold answers of each question, none if it has no answer.

    Returns:
        `exact`, `f1`, `HasAns_*` and `NoAns_*` in percent and `*total` counts. A part without
        questions is left out.

    Raises:
        ValueError: lengths differ, or there is nothing to score.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} questions")
    rows = [
        (exact_each(prediction, gold), f1_each(prediction, gold), bool(gold))
        for prediction, gold in zip(predictions, references, strict=True)
    ]
    result = _mean(rows, "")
    result |= _mean([row for row in rows if row[2]], "HasAns_")
    result |= _mean([row for row in rows if not row[2]], "NoAns_")
    return result


def _mean(rows: list[tuple[float, float, bool]], prefix: str) -> dict[str, float]:
    if not rows:
        return {}
    total = len(rows)
    return {
        f"{prefix}exact": 100.0 * sum(row[0] for row in rows) / total,
        f"{prefix}f1": 100.0 * sum(row[1] for row in rows) / total,
        f"{prefix}total": total,
    }
