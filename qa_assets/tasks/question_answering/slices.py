"""Parts of the questions that a mean can hide: by question word, length, article, and so on."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from qa_assets.tasks.question_answering.metric import normalize

_QUESTION_WORD = re.compile(
    r"\b(how\s+(?:many|much)|what|whose|whom|who|when|where|which|why|how)\b", re.IGNORECASE
)
_ANSWER_LENGTHS = (1, 2, 3, 5, 10)  # words at most

Row = Mapping[str, Any]
Slice = tuple[str, str, list[int]]


def slices(rows: Sequence[Row], train_answers: Collection[str] | None = None) -> Iterator[Slice]:
    """The parts of the questions.

    Args:
        rows: questions with `title, question, context, references`.
        train_answers: normalised answers that the model learnt from; None leaves out that slice.

    Yields:
        What it is sliced by, the value, and the numbers of the rows.
    """
    answerable = [number for number, row in enumerate(rows) if row["references"]]
    everything = list(range(len(rows)))
    yield from _by(
        "answerable",
        everything,
        lambda n: "answerable" if rows[n]["references"] else "no answer",
        ["answerable", "no answer"],
    )
    yield from _by("question word", everything, lambda n: question_word(rows[n]["question"]), None)
    lengths = [len(row["context"].split()) for row in rows]
    yield from _binned("context length", everything, lengths, _quartiles(lengths))
    answers = [len(row["references"][0].split()) if row["references"] else 0 for row in rows]
    yield from _binned("answer length", answerable, answers, _ANSWER_LENGTHS)
    if train_answers is not None:
        yield from _by(
            "answer seen in train",
            answerable,
            lambda n: (
                "seen"
                if any(normalize(text) in train_answers for text in rows[n]["references"])
                else "not seen"
            ),
            ["seen", "not seen"],
        )
    yield from _by("article", everything, lambda n: str(rows[n]["title"]), None)


def question_word(question: str) -> str:
    """The first question word, "how many" and "how much" as one; "other" where there is none."""
    found = _QUESTION_WORD.search(question)
    if found is None:
        return "other"
    word = " ".join(found[1].lower().split())
    return {"how much": "how many", "whose": "who", "whom": "who"}.get(word, word)


def _by(
    name: str, numbers: Sequence[int], value_of: Callable[[int], str], order: list[str] | None
) -> Iterator[Slice]:
    """Group rows by a value; in the order given, else the largest group first."""
    groups: dict[str, list[int]] = {}
    for number in numbers:
        groups.setdefault(value_of(number), []).append(number)
    if order is None:
        order = sorted(groups, key=lambda value: (-len(groups[value]), value))
    for value in order:
        if value in groups:
            yield name, value, groups[value]


def _binned(
    name: str, numbers: Sequence[int], words: Sequence[int], edges: Sequence[int]
) -> Iterator[Slice]:
    """Group rows by their number of words, each bin up to and including its edge."""
    labels = []
    for below, edge in zip([0, *edges], edges, strict=False):
        span = f"{edge}" if below + 1 == edge else f"{below + 1} to {edge}"
        labels.append(f"{span} word{'' if edge == 1 else 's'}")
    labels.append(f"over {edges[-1]} words" if edges else "any")

    def label(number: int) -> str:
        return labels[sum(words[number] > edge for edge in edges)]

    yield from _by(name, numbers, label, labels)


def _quartiles(values: Sequence[int]) -> list[int]:
    """Up to three different values that cut the sorted values into quarters."""
    ordered = sorted(values)
    cuts = {ordered[len(ordered) * part // 4 - 1] for part in (1, 2, 3) if len(ordered) >= 4}
    return sorted(cuts - {ordered[-1]})
