"""What a written split holds, by Spark: sizes, and a hash of its content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row


@dataclass(frozen=True)
class SplitFacts:
    """What one split holds.

    `content_hash` covers all rows, whatever their order and number of files.
    """

    name: str
    questions: int
    answerable: int
    content_hash: str


def profile(splits: "Mapping[str, DataFrame]") -> list[SplitFacts]:
    """The facts of each split, in the order given."""
    from pyspark.sql import functions as F  # noqa: N812

    frames = [frame.withColumn("split", F.lit(name)) for name, frame in splits.items()]
    contents = _contents(reduce(lambda one, other: one.unionAll(other), frames))
    return [
        SplitFacts(
            name,
            questions=sum(part["questions"] for part in contents[name]),
            answerable=sum(part["answerable"] for part in contents[name]),
            content_hash=hashlib.sha256(
                "".join(part["hash"] for part in contents[name]).encode()
            ).hexdigest(),
        )
        for name in splits
    ]


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
