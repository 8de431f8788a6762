"""Contexts too long for a model: overlapping windows of them, and which window's answer wins.

Plain text and numbers: no model, no engine. What is made here can be pickled, to be used in Spark's
workers.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

from qa_assets.tasks.question_answering.prompts import head_of, source_text

Count = Callable[[Sequence[str]], Sequence[int]]
"""The number of tokens of each text, without special ones."""

_WORD = re.compile(r"\S{1,64}")  # what has no blanks for longer is cut all the same
_END = 1  # the token at the end of a source
_ADDED = _END + 1  # and the blank that SentencePiece puts before a text


class PieceCounter:
    """Counts the pieces of a SentencePiece model: a `Count`."""

    def __init__(self, model: Path) -> None:
        """Load `spiece.model`, some 30 ms.

        Raises:
            FileNotFoundError: there is no such file.
        """
        from sentencepiece import SentencePieceProcessor

        self._processor = SentencePieceProcessor(model_proto=model.read_bytes())

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The number of pieces of each text."""
        return [len(ids) for ids in self._processor.encode(list(texts))]


class Answer(TypedDict):
    """A right answer, and the character of the context at which it begins."""

    text: str
    answer_start: int


class Window(NamedTuple):
    """What is read of a window, and which characters of the context it holds."""

    source: str
    start: int
    end: int

    def holds(self, answer: Answer) -> bool:
        """Whether the whole answer is in it."""
        start = answer["answer_start"]
        return self.start <= start and start + len(answer["text"]) <= self.end


@dataclass(frozen=True)
class Windows:
    """How contexts become windows.

    Attributes:
        count: of the model's tokens.
        max_tokens: of a source: prompt, question, window and end.
        overlap: least tokens that neighbours share, as far as words allow; at most half a window.
    """

    count: Count
    max_tokens: int
    overlap: int

    def sources(self, question: str, context: str) -> list[str]:
        """What a model is to read for a question: one source, or one for each window."""
        return [window.source for window in self.of(question, context)]

    def of(self, question: str, context: str) -> list[Window]:
        """The windows of a context; one where it is short enough."""
        return self._made(source_text(question, ""), context)

    def of_source(self, source: str) -> list[Window]:
        """The windows of what `source_text` made."""
        head = head_of(source)
        return self._made(head, source[len(head) :])

    def _made(self, head: str, context: str) -> list[Window]:
        if self._surely_short(head + context):
            return [Window(head + context, 0, len(context))]
        return [
            Window(head + context[start:end], start, end)
            for start, end in self._spans(head, context)
        ]

    def _surely_short(self, source: str) -> bool:
        """Whether it is short without counting: a token is a character at least.

        Others than ASCII can become several when they are normalised.
        """
        return len(source) + _ADDED <= self.max_tokens and source.isascii()

    def _spans(self, head: str, context: str) -> list[tuple[int, int]]:
        if self.count([head + context])[0] + _END <= self.max_tokens:
            return [(0, len(context))]
        words = [word.span() for word in _WORD.finditer(context)]
        if not words:
            return [(0, len(context))]
        # a question that leaves too little room is no reason for windows of a few words
        asked = self.count([head])[0] + _END
        room = max(self.max_tokens - asked, self.max_tokens // 4)
        before = [0]
        for tokens in self.count([context[start:end] for start, end in words]):
            before.append(before[-1] + tokens)
        overlap = min(self.overlap, room // 2)
        found: list[tuple[int, int]] = []
        first = last = least = 0
        while last < len(words):
            wanted = first
            last = max(first + 1, bisect_right(before, before[first] + room) - 1)
            if last == len(words):
                # as full as the others: what is torn out of its context misleads
                first = min(wanted, max(least, bisect_left(before, before[-1] - room)))
            # pieces that cross blanks, or parts of a long word, need not add up
            while last - first > 1 and (
                self.count([head + context[words[first][0] : words[last - 1][1]]])[0] + _END
                > asked + room
            ):
                if last == len(words) and first < wanted:
                    first += 1
                else:
                    last -= 1
            window = (words[first][0], words[last - 1][1])
            if not found or window[1] > found[-1][1]:
                found.append(window)
            least = first + 1
            first = max(least, bisect_right(before, before[last] - overlap) - 1)
        return found


def best(answers: Sequence[str | None], confidences: Sequence[float | None]) -> int:
    """Which window's answer is that to the question.

    Of those that answer the surest; where the engine knows no confidence, the first. Where all
    abstain, the least sure of them: an abstention is worth no more than its weakest part.

    Args:
        answers: by window; empty or null where it abstains.
        confidences: by window; null where the engine gives none.

    Returns:
        The number of the window.
    """
    answering = [number for number, answer in enumerate(answers) if answer]

    def sureness(number: int) -> float:
        return confidences[number] or 0.0

    if answering:
        return max(answering, key=sureness)
    return min(range(len(answers)), key=sureness)
