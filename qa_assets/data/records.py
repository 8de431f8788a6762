"""Validated records as a Spark frame: its columns, and operations that all tasks share.

Reading formats and finding faults belongs to the task. Every record stays in the frame, a bad one
with its JSON and the reasons for its rejection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

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


@dataclass
class Summary:
    """Counts of a file's records; `repaired` are good ones with a corrected value."""

    records: int = 0
    rejected: int = 0
    repaired: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = f" {self.reasons}" if self.reasons else ""
        counts = f"{self.records} records, {self.rejected} rejected{reasons}"
        return f"{counts}, {self.repaired} with a corrected value"

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

    The frame has the columns of `COLUMNS`, `record` in good records as well, and maybe others. It
    comes back persisted: `unpersist` it when done.
    """
    from pyspark.sql import functions as sf

    record = sf.when(sf.size("reasons") > 0, sf.col("record"))
    checked = checked.withColumn("record", record).select(*COLUMNS).persist()
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
    reasons = sf.when(again, sf.array(sf.lit(DUPLICATE_ID))).otherwise(sf.col("reasons"))
    return (
        checked.join(sf.broadcast(repeated), ["file", "id"], "left")
        .withColumn("record", sf.when(again, record).otherwise(sf.col("record")))
        .withColumn("reasons", reasons)
        .drop("first")
    )


def summarise(records: "DataFrame") -> dict[str, Summary]:
    """The summary of each file, by its name."""
    from pyspark.sql import functions as sf

    repaired = (sf.col("repaired") > 0).alias("repaired")
    rows = records.groupBy("file", "reasons", repaired).count().collect()
    summaries = {name: Summary() for name in sorted({row["file"] for row in rows})}
    for file, reasons, is_repaired, count in sorted(rows):
        summary = summaries[file]
        summary.records += count
        summary.rejected += count if reasons else 0
        summary.repaired += count if is_repaired and not reasons else 0
        for reason in reasons:
            summary.reasons[reason] = summary.reasons.get(reason, 0) + count
    return summaries


def rejected(records: "DataFrame") -> "DataFrame":
    """The table of rejected records, in the order of the files; columns as in `REJECTED`."""
    return records.where("size(reasons) > 0").orderBy("file", "position").select(*REJECTED)


def accepted(records: "DataFrame") -> "DataFrame":
    """The good records."""
    return records.where("size(reasons) = 0")


def with_parts(records: "DataFrame", names: Iterable[str]) -> "DataFrame":
    """The records with `part` filled in by their file's name, one of `names`, where it is null."""
    from pyspark.sql import functions as sf

    parts = {name: part_of(name) for name in names}
    by_file = sf.create_map(*(sf.lit(text) for pair in parts.items() for text in pair))
    return records.withColumn("part", sf.coalesce("part", by_file[sf.col("file")]))


def numbered(frame: "DataFrame", file: str, word: str) -> "DataFrame":
    """The rows of a file with `file`, `position` (their number, from 1) and `place`."""
    from pyspark.sql import functions as sf

    sizes = dict(frame.groupBy(sf.spark_partition_id()).count().collect())
    before = accumulate((sizes.get(part, 0) for part in range(max(sizes))), initial=0)
    within = sf.monotonically_increasing_id().bitwiseAND(sf.lit((1 << 33) - 1))
    starts = sf.array(*(sf.lit(start).cast("bigint") for start in before))
    position = starts[sf.spark_partition_id()] + within + 1
    return frame.select(
        sf.lit(file).alias("file"),
        position.alias("position"),
        sf.concat(sf.lit(f"{word} "), position).alias("place"),
        "*",
    )
