"""Contexts too long for a model: overlapping windows of them, and which window's answer is taken.

Plain text and numbers: no model, no engine.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from qa_assets.core.examples import Budget, Prediction

_WORD = re.compile(r"\S{1,64}")  # what has no blanks for longer is cut all the same
_END = 1  # the token at the end of a source
_ADDED = _END + 1  # and the blank that SentencePiece puts before a text


class Window(NamedTuple):
    """A source, and which characters of the context it holds."""

    source: str
    start: int
    end: int

    def holds(self, answer: Mapping[str, Any]) -> bool:
        """Whether the whole answer, `text` at `answer_start`, is in it."""
        start: int = answer["answer_start"]
        return self.start <= start and start + len(answer["text"]) <= self.end


def windows(head: str, context: str, budget: Budget) -> list[Window]:
    """The windows of a context; one where it is short enough.

    A window is an exact slice of its context, after `head`. Neighbours share `budget.overlap`
    tokens as far as words allow, and at most half a window.
    """
    whole = [Window(head + context, 0, len(context))]
    # short without counting: a token is a character at least. Others than ASCII can become several
    # when they are normalised
    if len(head + context) + _ADDED <= budget.max_tokens and context.isascii() and head.isascii():
        return whole
    if budget.count([head + context])[0] + _END <= budget.max_tokens:
        return whole
    words = [word.span() for word in _WORD.finditer(context)]
    if not words:
        return whole
    # a question that leaves too little room is no reason for windows of a few words
    asked = budget.count([head])[0] + _END
    room = max(budget.max_tokens - asked, budget.max_tokens // 4)
    before = [0, *accumulate(budget.count([context[start:end] for start, end in words]))]
    overlap = min(budget.overlap, room // 2)

    def window(first: int, last: int) -> Window:
        start, end = words[first][0], words[last - 1][1]
        return Window(head + context[start:end], start, end)

    result: list[Window] = []
    first = last = least = 0
    while last < len(words):
        wanted = first
        last = max(first + 1, bisect_right(before, before[first] + room) - 1)
        if last == len(words):
            # as full as the others: what is torn out of its context misleads
            first = min(wanted, max(least, bisect_left(before, before[-1] - room)))
        # pieces that cross blanks, or parts of a long word, need not add up
        while (
            last - first > 1 and budget.count([window(first, last).source])[0] + _END > asked + room
        ):
            if last == len(words) and first < wanted:
                first += 1
            else:
                last -= 1
        if not result or window(first, last).end > result[-1].end:
            result.append(window(first, last))
        least = first + 1
        first = max(least, bisect_right(before, before[last] - overlap) - 1)
    return result


def best(answers: Sequence[Prediction]) -> Prediction:
    """The window's answer that is taken for the whole context; "" where a window abstains.

    Of those that answer the surest; where the engine gives no confidence, the first. Where all
    abstain, the least sure of them: an abstention is worth no more than its weakest part.
    """

    def confidence(prediction: Prediction) -> float:
        return prediction.confidence or 0.0

    answering = [prediction for prediction in answers if prediction.text]
    return max(answering, key=confidence) if answering else min(answers, key=confidence)
