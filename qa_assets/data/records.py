"""Validated records as a Spark frame: its columns, and operations that all tasks share.

Reading formats and finding faults belongs to the task. Every record stays in the frame, a bad one
with its JSON and the reasons for its rejection.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_assets.data.sources import part_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

COLUMNS = (
    "file", "position", "place", "part", "id", "group", "inputs", "references", "stratum", "extra",
    "reasons", "repaired", "record",
)  # fmt: skip
"""The columns of `Task.read`, which has a row for each record.

`file` (its name), `position` (orders the records of a file) and `place` (for people) locate it;
`part` is `train`, `valid` or `test` where the file itself says so, else null. `id`, `group`,
`inputs` (a struct), `references` and `extra` (a struct) are those of `Example`. Splits and samples
keep the proportions of the values of `stratum`. `reasons` is an array, empty for a good record,
`repaired` the number of corrected values, `record` the JSON of a bad record.
"""
REJECTED = {
    "file": "The data file.",
    "place": "Where in it.",
    "id": "The record's id, if it has one.",
    "reasons": "All that is wrong with it.",
    "record": "The record as JSON.",
}
"""Columns of the table of rejected records."""
DUPLICATE_ID = "duplicate_id"

BLANK = r"^[\s\u0085\u00a0\u2000-\u200b\u3000\ufeff]*$"
NOT_TEXT = r"^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|(?s:\{\".*\}|\{\}|\[.*\]))$"
"""JSON values other than texts, as Spark spells them in a column of text."""
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]"  # all but tab, line ends


@dataclass(frozen=True)
class Summary:
    """Counts of a file's records; `repaired` are good ones with a corrected value."""

    records: int
    rejected: int
    repaired: int
    reasons: dict[str, int]

    @property
    def rejected_share(self) -> float:
        """Rejected of all records; 1 for an empty file."""
        return self.rejected / self.records if self.records else 1.0


def names_of(faults: "Mapping[str, Column]") -> "Column":
    """The names of the conditions that hold, as an array; null counts as false."""
    from pyspark.sql import functions as sf

    # not sf.filter: whole-stage codegen leaves out higher-order functions and their arguments
    names = [sf.when(wrong, sf.lit(name)).otherwise(sf.lit("")) for name, wrong in faults.items()]
    return sf.array_remove(sf.array(*names), "")


def reject_repeated_ids(checked: "DataFrame") -> "DataFrame":
    """Reject good records whose id an earlier good record of the file has.

    Args:
        checked: columns as in `COLUMNS`.

    Returns:
        The frame, persisted: `unpersist` it when done.
    """
    from pyspark.sql import functions as sf

    checked = checked.persist()
    repeated = (
        checked.where("size(reasons) = 0")
        .groupBy("file", "id")
        .agg(sf.count("*").alias("count"), sf.min("position").alias("first"))
        .where("count > 1")
        .select("file", "id", "first")
        .persist()
    )
    if repeated.isEmpty():
        repeated.unpersist()
        return checked
    again = (sf.size("reasons") == 0) & (sf.col("position") > sf.col("first"))
    record = sf.to_json(sf.struct("id", "group", "inputs.*", "references", "extra.*"))
    return (
        checked.join(sf.broadcast(repeated), ["file", "id"], "left")
        .withColumn("record", sf.when(again, record).otherwise(sf.col("record")))
        .withColumn(
            "reasons",
            sf.when(again, sf.array(sf.lit(DUPLICATE_ID))).otherwise(sf.col("reasons")),
        )
        .drop("first")
    )


def summarise(records: "DataFrame") -> dict[str, Summary]:
    """The summary of each file, by its name."""
    from pyspark.sql import functions as sf

    repaired = (sf.col("repaired") > 0).alias("repaired")
    rows = records.groupBy("file", "reasons", repaired).count().collect()
    names = sorted({row["file"] for row in rows})
    return {name: _summary([row for row in rows if row["file"] == name]) for name in names}


def _summary(rows: list[Any]) -> Summary:
    """The summary of a file, from the count of each combination of reasons."""
    reasons: Counter[str] = Counter()
    for row in rows:
        for reason in row["reasons"]:
            reasons[reason] += row["count"]
    return Summary(
        records=sum(row["count"] for row in rows),
        rejected=sum(row["count"] for row in rows if row["reasons"]),
        repaired=sum(row["count"] for row in rows if row["repaired"] and not row["reasons"]),
        reasons=dict(sorted(reasons.items())),
    )


def rejected(records: "DataFrame") -> "DataFrame":
    """The table of rejected records, in the order of the files; columns as in `REJECTED`."""
    return records.where("size(reasons) > 0").orderBy("file", "position").select(*REJECTED)


def accepted(records: "DataFrame") -> "DataFrame":
    """The good records."""
    return records.where("size(reasons) = 0")


def with_parts(records: "DataFrame", names: Iterable[str]) -> "DataFrame":
    """The records with `part` filled in by their file's name where it is null.

    Args:
        records: have `file` and `part`.
        names: of the files.
    """
    from pyspark.sql import functions as sf

    parts = {name: part_of(name) for name in names}
    by_file = sf.create_map(*(sf.lit(text) for pair in parts.items() for text in pair))
    return records.withColumn("part", sf.coalesce("part", by_file[sf.col("file")]))


def numbered(frame: "DataFrame") -> "DataFrame":
    """The rows of a file with the column `position`: their number, from 1."""
    from pyspark.sql import functions as sf

    counts = frame.groupBy(sf.spark_partition_id().alias("part")).count().collect()
    sizes = {row["part"]: row["count"] for row in counts}
    before = [
        sum(sizes.get(earlier, 0) for earlier in range(part)) for part in range(max(sizes) + 1)
    ]
    within = sf.monotonically_increasing_id().bitwiseAND(sf.lit((1 << 33) - 1))
    starts = sf.array(*(sf.lit(start).cast("bigint") for start in before))
    return frame.withColumn("position", starts[sf.spark_partition_id()] + within + 1)
