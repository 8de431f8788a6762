"""What the test split shares with train: the same questions and contexts, or nearly so."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Overlap:
    """How much of test is in train as well.

    The same: equal but for case, punctuation and blanks. Near: the same words, in another order or
    number. `contexts` and `questions` of test are counted once each however often they occur.
    """

    questions: int
    same_questions: int
    near_questions: int
    contexts: int
    same_contexts: int
    near_contexts: int


def overlap(train: "DataFrame", test: "DataFrame") -> Overlap:
    """Count the distinct questions and contexts of `test` that occur in `train`."""
    facts: dict[str, int] = {}
    for column in ("question", "context"):
        total, same, near = _shared(train, test, column)
        facts |= {f"{column}s": total, f"same_{column}s": same, f"near_{column}s": near}
    return Overlap(**facts)


def _shared(train: "DataFrame", test: "DataFrame", column: str) -> tuple[int, int, int]:
    from pyspark.sql import functions as F  # noqa: N812

    def keys(frame: "DataFrame") -> "DataFrame":
        words = _words(F.col(column))
        return frame.select(column).distinct().select(
            F.xxhash64(words).alias("same"), F.xxhash64(_bag(words)).alias("near")
        )  # fmt: skip

    known, asked = keys(train).persist(), keys(test)
    try:
        found = (
            asked.join(
                known.select("same", F.lit(True).alias("is_same")).distinct(), "same", "left"
            )
            .join(known.select("near", F.lit(True).alias("is_near")).distinct(), "near", "left")
            .agg(F.count("*"), F.count("is_same"), F.count("is_near"))
            .first()
        )
    finally:
        known.unpersist()
    assert found is not None  # noqa: S101  an aggregate without groups has one row
    return int(found[0]), int(found[1]), int(found[2] - found[1])


def _words(text: "Column") -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    return F.trim(F.regexp_replace(F.lower(text), r"[\p{Punct}\s]+", " "))


def _bag(words: "Column") -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    return F.array_sort(F.array_distinct(F.split(words, " ")))
