"""What a written split holds, counted in Spark: sizes, lengths, question types, content hash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

LENGTHS = ("question", "context", "answer")
TYPES = ("what", "who", "when", "where", "why", "which", "how many", "how much", "how")


@dataclass(frozen=True)
class SplitFacts:
    """What one split holds.

    `content_hash` covers all rows, whatever their order and number of files. `lengths` counts
    questions by their length in tokens, here words between blanks, for each of `LENGTHS`; `types`
    counts them by the question word that they begin with or, failing that, hold.
    """

    name: str
    questions: int
    answerable: int
    articles: int
    content_hash: str
    lengths: dict[str, dict[int, int]]
    types: dict[str, int]


def profile(splits: "Mapping[str, DataFrame]") -> list[SplitFacts]:
    """The facts of each split, in the order given."""
    from pyspark.sql import functions as F  # noqa: N812

    frames = [frame.withColumn("split", F.lit(name)) for name, frame in splits.items()]
    rows = reduce(lambda one, other: one.unionAll(other), frames)
    contents, found = _contents(rows), _distributions(rows)
    return [
        SplitFacts(
            name,
            questions=sum(part["questions"] for part in contents[name]),
            answerable=sum(part["answerable"] for part in contents[name]),
            articles=len(found[name]["article"]),
            content_hash=hashlib.sha256(
                "".join(part["hash"] for part in contents[name]).encode()
            ).hexdigest(),
            lengths={
                what: {int(key): count for key, count in found[name].get(what, {}).items()}
                for what in LENGTHS
            },
            types=found[name]["type"],
        )
        for name in splits
    ]


def _distributions(rows: "DataFrame") -> dict[str, dict[str, dict[str, int]]]:
    """Counts by split, by what is counted, by value."""
    from pyspark.sql import functions as F  # noqa: N812

    def tokens(text: "Column") -> "Column":
        blanks = F.length(text) - F.length(F.replace(text, F.lit(" ")))
        return (blanks + 1).cast("string")

    facets = {
        "question": tokens(F.col("question")),
        "context": tokens(F.col("context")),
        "answer": F.when(~F.col("is_impossible"), tokens(F.col("target"))),
        "type": _type(F.lower("question")),
        "article": F.col("title"),
    }
    pairs = F.explode(
        F.array(*(F.struct(F.lit(what), value.alias("value")) for what, value in facets.items()))
    )
    counted = (
        rows.select("split", pairs.alias("pair"))
        .select("split", F.col("pair.col1").alias("what"), "pair.value")
        .where("value is not null")
        .groupBy("split", "what", "value")
        .count()
        .collect()
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for split, what, value, count in sorted(counted):
        found.setdefault(split, {}).setdefault(what, {})[value] = count
    return found


def _type(question: "Column") -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    kinds = "|".join(TYPES)
    first = F.regexp_extract(question, rf"^\W*({kinds})\b", 1)
    anywhere = F.regexp_extract(question, rf"\b({kinds})\b", 1)
    return F.when(first != "", first).when(anywhere != "", anywhere).otherwise("other")


def _contents(rows: "DataFrame") -> "dict[str, list[Row]]":
    """SHA-256 over the sorted SHA-256s of the rows, and counts, of each part of each split.

    There are 256 parts, in order, by the first byte of the row's hash.
    """
    from pyspark.sql import functions as F  # noqa: N812

    # a control character parts the columns: validation lets none through
    cells = [
        F.to_json(name) if kind.startswith("array") else F.col(name)
        for name, kind in rows.dtypes
        if name != "split"
    ]
    parts = (
        rows.select("split", "is_impossible", F.sha2(F.concat_ws("\1", *cells), 256).alias("row"))
        .groupBy("split", F.substring("row", 1, 2).alias("part"))
        .agg(
            F.sha2(F.concat_ws("", F.sort_array(F.collect_list("row"))), 256).alias("hash"),
            F.count("*").alias("questions"),
            F.count_if(~F.col("is_impossible")).alias("answerable"),
        )
        .collect()
    )
    found: dict[str, list[Row]] = {}
    for part in sorted(parts):
        found.setdefault(part["split"], []).append(part)
    return found
