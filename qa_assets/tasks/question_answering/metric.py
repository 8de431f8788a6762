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


def score(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    no_answer_probabilities: Sequence[float] | None = None,
    no_answer_threshold: float = 1.0,
) -> dict[str, float]:
    """Score predictions against references, row by row.

    Args:
        predictions: one text a question, "" to abstain.
        references: the gold answers of each question, none if it has no answer.
        no_answer_probabilities: how likely each question has no answer.
        no_answer_threshold: a prediction that is less likely to have an answer abstains.

    Returns:
        `exact`, `f1`, `HasAns_*` and `NoAns_*` in percent and `*total` counts. A part without
        questions is left out. With probabilities also `best_exact` and `best_f1`, and the
        thresholds `best_exact_thresh` and `best_f1_thresh` that give them.

    Raises:
        ValueError: lengths differ, or there is nothing to score.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} predictions for {len(references)} questions")
    answerable = [bool(gold) for gold in references]
    exact = list(map(exact_each, predictions, references))
    f1 = list(map(f1_each, predictions, references))
    if no_answer_probabilities is None:
        return summarize(exact, f1, answerable)
    absent = [probability > no_answer_threshold for probability in no_answer_probabilities]
    if len(absent) != len(predictions):
        raise ValueError(f"{len(absent)} probabilities for {len(predictions)} predictions")
    result = summarize(
        _abstaining(exact, absent, answerable), _abstaining(f1, absent, answerable), answerable
    )
    for name, values in {"exact": exact, "f1": f1}.items():
        result[f"best_{name}"], result[f"best_{name}_thresh"] = _best_threshold(
            values, predictions, answerable, no_answer_probabilities
        )
    return result


def summarize(
    exact: Sequence[float], f1: Sequence[float], answerable: Sequence[bool]
) -> dict[str, float]:
    """The means of scores from 0 to 1 by question, in percent: what `score` returns."""
    sums: dict[str, tuple[float, float, int]] = {}
    for prefix, has_answer in (("HasAns_", True), ("NoAns_", False)):
        part = [row for row, answers in enumerate(answerable) if answers == has_answer]
        sums[prefix] = sum(exact[row] for row in part), sum(f1[row] for row in part), len(part)
    # the whole as the sum of its parts: so the published figures come out to the last digit, which
    # depends on the order of summing
    has, no = sums.values()
    sums = {"": (has[0] + no[0], has[1] + no[1], has[2] + no[2])} | sums
    result: dict[str, float] = {}
    for prefix, (exact_sum, f1_sum, total) in sums.items():
        if total:
            result |= {
                f"{prefix}exact": 100.0 * exact_sum / total,
                f"{prefix}f1": 100.0 * f1_sum / total,
                f"{prefix}total": total,
            }
    return result


def _abstaining(
    scores: Sequence[float], absent: Sequence[bool], answerable: Sequence[bool]
) -> list[float]:
    """The scores once the questions in `absent` are abstained on."""
    return [
        float(not has_answer) if abstains else value
        for value, abstains, has_answer in zip(scores, absent, answerable, strict=True)
    ]


def _best_threshold(
    scores: Sequence[float],
    predictions: Sequence[str],
    answerable: Sequence[bool],
    probabilities: Sequence[float],
) -> tuple[float, float]:
    """The best mean in percent that a threshold on the probabilities gives, and the threshold.

    As the official script: questions are answered one after the other, the surest first, and of
    equal probabilities each counts as a threshold of its own, in the order of the rows.
    """
    current = best = float(answerable.count(False))
    threshold = 0.0
    for row in sorted(range(len(scores)), key=lambda row: probabilities[row]):
        if answerable[row]:
            current += scores[row]
        elif predictions[row]:
            current -= 1
        if current > best:
            best, threshold = current, probabilities[row]
    return 100.0 * best / len(scores), threshold
