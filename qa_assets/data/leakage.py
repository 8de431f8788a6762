"""What the test split shares with train: the same questions and contexts, or nearly so.

An exact join by similarity, with the prefix filter of Chaudhuri et al. (2006): two sets of words
that are so much alike share one of their few rarest words. No hashes, so nothing is missed.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

NEAR = 0.8
"""Texts are nearly the same whose sets of words have this Jaccard similarity, or more."""

_TEXTS = {"questions": "question", "contexts": "context"}
_FOUND = "what string, number int, same boolean, similarity double, text string"
_EXAMPLES = 10
_WORD = re.compile(r"\w+")

Words = tuple[str, ...]


@dataclass(frozen=True)
class Overlap:
    """How much of test is in train as well.

    The same: equal but for case, punctuation and blanks. Near: other texts, whose words are as in
    `NEAR`. `contexts` and `questions` of test are counted once each however often they occur.
    `examples` are the nearest of the near: `similarity, test, train`.
    """

    questions: int
    same_questions: int
    near_questions: int
    contexts: int
    same_contexts: int
    near_contexts: int
    examples: list[dict[str, Any]] = field(default_factory=list)


def overlap(train: "DataFrame", test: "DataFrame") -> Overlap:
    """Count the distinct questions and contexts of `test` that occur in `train`."""
    asked = test.select(*_TEXTS.values()).toPandas()
    indexes = {what: Index(asked[column]) for what, column in _TEXTS.items()}
    found = (
        train.select(*_TEXTS.values()).mapInArrow(partial(_search, indexes=indexes), _FOUND)
    ).collect()  # fmt: skip
    facts: dict[str, Any] = {}
    examples: list[dict[str, Any]] = []
    for what, index in indexes.items():
        rows = [row for row in found if row["what"] == what]
        same = {row["number"] for row in rows if row["same"]}
        near = {row["number"]: row for row in rows if row["number"] not in same}
        facts |= {what: len(index.texts), f"same_{what}": len(same), f"near_{what}": len(near)}
        examples += [
            {"similarity": row["similarity"], "test": index.texts[number], "train": row["text"]}
            for number, row in near.items()
        ]
    examples.sort(key=lambda one: (-one["similarity"], one["test"], one["train"]))
    return Overlap(**facts, examples=examples[:_EXAMPLES])


def words_of(text: str) -> Words:
    """The words of a text in lower case, without marks."""
    return tuple(_WORD.findall(text.casefold()))


class Index:
    """Texts to be found again by their rarest words.

    Attributes:
        texts: by number, those that differ in their words.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        different: dict[Words, str] = {}
        for text in texts:
            different.setdefault(words_of(text), text)
        self.texts = list(different.values())
        self._words = list(different)
        self._frequency = Counter(word for words in different for word in set(words))
        self._by_word: dict[str, list[int]] = {}
        for number, words in enumerate(different):
            for word in self._rarest(set(words)):
                self._by_word.setdefault(word, []).append(number)

    def find(self, words: Words) -> Iterator[tuple[int, bool, float]]:
        """Number, sameness and similarity of the texts that are the same or near."""
        mine = set(words)
        candidates = {
            number for word in self._rarest(mine) for number in self._by_word.get(word, ())
        }
        for number in candidates:
            theirs = set(self._words[number])
            shared = len(mine & theirs)
            similarity = shared / (len(mine) + len(theirs) - shared)
            if similarity >= NEAR:
                yield number, self._words[number] == words, similarity

    def _rarest(self, words: set[str]) -> list[str]:
        """So many of the rarest words that of a text near enough not all can be missing."""
        count = len(words) - math.ceil(NEAR * len(words)) + 1
        order = sorted(words, key=lambda word: (self._frequency[word], word))
        return order[:count]


def _search(
    batches: "Iterable[pa.RecordBatch]", indexes: dict[str, Index]
) -> "Iterator[pa.RecordBatch]":
    """The nearest text of a part of train for each text of the indexes; columns as in `_FOUND`."""
    import pyarrow as pa

    found: dict[tuple[str, int], tuple[bool, float, str]] = {}
    for batch in batches:
        for what, column in _TEXTS.items():
            for text in batch[column].unique().to_pylist():
                for number, same, similarity in indexes[what].find(words_of(text)):
                    one = (same, similarity, text)
                    found[what, number] = max(found.get((what, number), one), one)
    rows = [(*key, *value) for key, value in found.items()]
    names = [name.split()[0] for name in _FOUND.split(", ")]
    types = (pa.string(), pa.int32(), pa.bool_(), pa.float64(), pa.string())
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    yield pa.record_batch(
        [pa.array(list(values), kind) for values, kind in zip(columns, types, strict=True)], names
    )
