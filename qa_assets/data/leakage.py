"""Leakage: texts of the test split that train has as well, or nearly so.

An exact similarity join with the prefix filter of Chaudhuri et al. (2006): two sets of words that
are similar enough share one of their few rarest words. Unlike MinHash it misses no pair.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

NEAR = 0.8
"""Least Jaccard similarity of the sets of words of texts that count as near-duplicates."""

_MATCH = "field string, number long, same boolean, similarity double, text string"
_EXAMPLES = 10
_WORD = re.compile(r"\w+")

Words = tuple[str, ...]


@dataclass(frozen=True)
class Leakage:
    """How many texts of an input field of test are in train.

    Attributes:
        texts: distinct texts of test.
        same: those that train has: equal but for case, punctuation and blanks.
        near: others, of which train has a near-duplicate.
        examples: the most similar of the near ones: `similarity, test, train`.
    """

    texts: int
    same: int
    near: int
    examples: list[dict[str, Any]]


def leakage(train: "DataFrame", test: "DataFrame", fields: Sequence[str]) -> dict[str, Leakage]:
    """Count the distinct texts of `test` that occur in `train`, for each of the input fields."""
    texts = [f"inputs.{name}" for name in fields]
    frame = test.select(*texts).toPandas()
    indexes = {name: Index(frame[name]) for name in fields}
    rows = train.select(*texts).mapInArrow(partial(_search, indexes=indexes), _MATCH).collect()
    result = {}
    for name, index in indexes.items():
        matches = [row for row in rows if row["field"] == name]
        same = {row["number"] for row in matches if row["same"]}
        near = {row["number"]: row for row in matches if row["number"] not in same}
        examples = [
            {"similarity": row["similarity"], "test": index.texts[number], "train": row["text"]}
            for number, row in near.items()
        ]
        examples.sort(key=lambda row: (-row["similarity"], row["test"], row["train"]))
        result[name] = Leakage(len(index.texts), len(same), len(near), examples[:_EXAMPLES])
    return result


def words_of(text: str) -> Words:
    """The words of a text, case-folded, without punctuation."""
    return tuple(_WORD.findall(text.casefold()))


class Index:
    """An inverted index of texts by their rarest words.

    Attributes:
        texts: by number; of texts with the same words the first.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        distinct: dict[Words, str] = {}
        for text in texts:
            distinct.setdefault(words_of(text), text)
        self.texts = list(distinct.values())
        self._words = list(distinct)
        self._frequency = Counter(word for words in distinct for word in set(words))
        self._by_word: dict[str, list[int]] = {}
        for number, words in enumerate(distinct):
            for word in self._rarest(set(words)):
                self._by_word.setdefault(word, []).append(number)

    def find(self, words: Words) -> Iterator[tuple[int, bool, float]]:
        """Number, equality and similarity of the texts that are equal or near-duplicates."""
        query = set(words)
        candidates = {
            number for word in self._rarest(query) for number in self._by_word.get(word, ())
        }
        for number in candidates:
            candidate = set(self._words[number])
            similarity = len(query & candidate) / len(query | candidate)
            if similarity >= NEAR:
                yield number, self._words[number] == words, similarity

    def _rarest(self, words: set[str]) -> list[str]:
        """The prefix filter: any set with Jaccard similarity >= NEAR has one of these words."""
        count = len(words) - math.ceil(NEAR * len(words)) + 1
        order = sorted(words, key=lambda word: (self._frequency[word], word))
        return order[:count]


def _search(
    batches: "Iterable[pa.RecordBatch]", indexes: dict[str, Index]
) -> "Iterator[pa.RecordBatch]":
    """The most similar text of a part of train for each indexed text; columns as in `_MATCH`."""
    import pyarrow as pa

    nearest: dict[tuple[str, int], tuple[bool, float, str]] = {}
    for batch in batches:
        for name, index in indexes.items():
            for text in batch[name].unique().to_pylist():
                for number, same, similarity in index.find(words_of(text)):
                    match = (same, similarity, text)
                    nearest[name, number] = max(nearest.get((name, number), match), match)
    names = [column.split()[0] for column in _MATCH.split(", ")]
    rows = [dict(zip(names, (*key, *match), strict=True)) for key, match in nearest.items()]
    if rows:
        yield pa.RecordBatch.from_pylist(rows)
