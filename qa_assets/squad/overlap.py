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
    from pyspark.sql import functions as F  # noqa: N812

    sides = [
        frame.select(
            F.lit(known).alias("known"),
            F.explode(F.array(_struct("questions", "question"), _struct("contexts", "context"))),
        )
        for frame, known in ((train, 1), (test, 0))
    ]
    texts = (
        sides[0]
        .unionAll(sides[1])
        .groupBy("col.what", "col.text")
        .agg(F.max("known").alias("known"), F.max(1 - F.col("known")).alias("asked"))
    )
    words = _words(F.col("text"))
    keys = F.array(
        *(
            F.struct(F.lit(level).alias("level"), F.xxhash64(key).alias("key"))
            for level, key in (("same", words), ("near", _bag(words)))
        )
    )
    rows = (
        texts.select("what", "known", "asked", F.explode(keys))
        .groupBy("what", "col.level", "col.key")
        .agg(F.max("known").alias("known"), F.sum("asked").alias("asked"))
        .groupBy("what", "level")
        .agg(F.sum("asked").alias("all"), F.sum(F.col("known") * F.col("asked")).alias("shared"))
        .collect()
    )
    found = {(row["what"], row["level"]): row for row in rows}
    facts: dict[str, int] = {}
    for what in ("questions", "contexts"):
        same, near = found[what, "same"], found[what, "near"]
        facts |= {
            what: same["all"],
            f"same_{what}": same["shared"],
            f"near_{what}": near["shared"] - same["shared"],
        }
    return Overlap(**facts)


def _struct(what: str, column: str) -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    return F.struct(F.lit(what).alias("what"), F.col(column).alias("text"))


def _words(text: "Column") -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    return F.trim(F.regexp_replace(F.lower(text), r"[\p{Punct}\s]+", " "))


def _bag(words: "Column") -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    return F.sort_array(F.array_distinct(F.split(words, " ")))
