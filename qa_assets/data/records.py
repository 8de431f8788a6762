"""Checked records as a Spark frame: its columns, and what every task does with them.

How a task reads its formats and which faults it looks for is the task's; a bad record is kept as it
was found, with its reasons, and nothing is dropped silently.
"""

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
"""What `Task.read` returns a row of for each record.

`file` (its name), `position` (orders the records of a file) and `place` (for people) say where it
was; `part` is `train`, `valid` or `test` where the file itself says, else null. `id`, `group`,
`inputs` (a struct), `references` and `extra` (a struct) are those of `Example`. Splits and samples
keep the proportions of the values of `stratum`. `reasons` is an array, empty where the record is
good, `repaired` the number of values that were put right, `record` the JSON of a bad record.
"""
REJECTED = {
    "file": "The data file.",
    "place": "Where in it.",
    "id": "The record's id, if it has one.",
    "reasons": "All that is wrong with it.",
    "record": "The record as JSON, as it was found.",
}
"""Columns of the table of rejected records."""
DUPLICATE_ID = "duplicate_id"

BLANK = r"^[\s\u0085\u00a0\u2000-\u200b\u3000\ufeff]*$"
NOT_TEXT = r"^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|(?s:\{\".*\}|\{\}|\[.*\]))$"
"""JSON values other than texts, as Spark spells them in a column of text."""
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]"  # all but tab, line ends


@dataclass(frozen=True)
class Summary:
    """Records of a file; `repaired` counts good ones with a value that was put right."""

    records: int
    rejected: int
    repaired: int
    reasons: dict[str, int]

    @property
    def rejected_share(self) -> float:
        """Rejected records by all records; 1 where there is none."""
        return self.rejected / self.records if self.records else 1.0


def names_of(faults: "Mapping[str, Column]") -> "Column":
    """The names of the faults that are true, as an array; null counts as false."""
    from pyspark.sql import functions as sf

    # higher-order functions such as filter are not compiled, nor is what they are given
    names = [sf.when(wrong, sf.lit(name)).otherwise(sf.lit("")) for name, wrong in faults.items()]
    return sf.array_remove(sf.array(*names), "")


def reject_repeated_ids(checked: "DataFrame") -> "DataFrame":
    """Reject good records whose id a good record before them in the file has.

    Args:
        checked: columns as in `COLUMNS`.

    Returns:
        The same frame, persisted: `unpersist` it when done.
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

    rows = (
        records.select(
            "file",
            "repaired",
            sf.explode_outer("reasons").alias("reason"),
            sf.size("reasons").alias("faults"),
        )
        .groupBy("file", "reason")
        .agg(
            sf.count("*").alias("count"),
            sf.sum(sf.when(sf.col("faults") > 0, 1 / sf.col("faults"))).alias("rejected"),
            sf.sum(sf.when((sf.col("faults") == 0) & (sf.col("repaired") > 0), 1)).alias(
                "repaired"
            ),
        )
        .collect()
    )
    return {
        file: _summary([row for row in rows if row["file"] == file])
        for file in sorted({row["file"] for row in rows})
    }


def _summary(rows: list[Any]) -> Summary:
    good = sum(row["count"] for row in rows if row["reason"] is None)
    rejected = round(sum(row["rejected"] or 0 for row in rows))
    return Summary(
        records=good + rejected,
        rejected=rejected,
        repaired=sum(row["repaired"] or 0 for row in rows),
        reasons={row["reason"]: row["count"] for row in rows if row["reason"] is not None},
    )


def rejected(records: "DataFrame") -> "DataFrame":
    """The table of rejected records, in the order of the files; columns as in `REJECTED`."""
    return records.where("size(reasons) > 0").orderBy("file", "position").select(*REJECTED)


def accepted(records: "DataFrame") -> "DataFrame":
    """The good records."""
    return records.where("size(reasons) = 0")


def with_parts(records: "DataFrame", names: Iterable[str]) -> "DataFrame":
    """The records with the split that they are of: as they say themselves, else as their file.

    Args:
        records: have `file` and `part`.
        names: of the files.
    """
    from pyspark.sql import functions as sf

    parts = {name: part_of(name) for name in names}
    by_file = sf.create_map(*(sf.lit(text) for pair in parts.items() for text in pair))
    return records.withColumn("part", sf.coalesce("part", by_file[sf.col("file")]))


def numbered(frame: "DataFrame") -> "DataFrame":
    """Rows of a file with their number in it, from 1, as `position`."""
    from pyspark.sql import functions as sf

    counts = frame.groupBy(sf.spark_partition_id().alias("part")).count().collect()
    sizes = {row["part"]: row["count"] for row in counts}
    before = [
        sum(sizes.get(earlier, 0) for earlier in range(part)) for part in range(max(sizes) + 1)
    ]
    within = sf.monotonically_increasing_id().bitwiseAND(sf.lit((1 << 33) - 1))
    starts = sf.array(*(sf.lit(start).cast("bigint") for start in before))
    return frame.withColumn("position", starts[sf.spark_partition_id()] + within + 1)
