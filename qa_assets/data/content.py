"""Size and content hash of written splits, computed by Spark."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row


@dataclass(frozen=True)
class SplitFacts:
    """Facts of a split.

    Attributes:
        name: of the split.
        examples: rows.
        answerable: rows that have a reference; in the others, to abstain is right.
        content_hash: SHA-256 over all rows; independent of their order and of the files.
    """

    name: str
    examples: int
    answerable: int
    content_hash: str


def facts_of(splits: "Mapping[str, DataFrame]") -> list[SplitFacts]:
    """The facts of each split, in the same order."""
    from pyspark.sql import functions as sf

    frames = [frame.withColumn("split", sf.lit(name)) for name, frame in splits.items()]
    parts = _parts(reduce(lambda left, right: left.unionAll(right), frames))
    return [
        SplitFacts(
            name,
            examples=sum(part["examples"] for part in parts[name]),
            answerable=sum(part["answerable"] for part in parts[name]),
            content_hash=hashlib.sha256(
                "".join(part["hash"] for part in parts[name]).encode()
            ).hexdigest(),
        )
        for name in splits
    ]


def _parts(rows: "DataFrame") -> "dict[str, list[Row]]":
    """SHA-256 over the sorted SHA-256s of the rows, and counts, of each part of each split.

    There are 256 parts, in order, by the first byte of the row's hash.
    """
    from pyspark.sql import functions as sf

    # a control character separates the columns: validation rejects those in texts
    cells = [
        sf.col(name) if kind == "string" else sf.to_json(name)
        for name, kind in rows.dtypes
        if name != "split"
    ]
    collected = (
        rows.select("split", "references", sf.sha2(sf.concat_ws("\1", *cells), 256).alias("row"))
        .groupBy("split", sf.substring("row", 1, 2).alias("part"))
        .agg(
            sf.sha2(sf.concat_ws("", sf.sort_array(sf.collect_list("row"))), 256).alias("hash"),
            sf.count("*").alias("examples"),
            sf.count_if(sf.size("references") > 0).alias("answerable"),
        )
        .collect()
    )
    parts: dict[str, list[Row]] = {}
    for part in sorted(collected):
        parts.setdefault(part["split"], []).append(part)
    return parts
