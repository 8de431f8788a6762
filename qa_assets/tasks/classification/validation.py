"""Which labelled texts are good, decided in Spark, and what is wrong with the others.

What all tasks do with checked records is in `qa_assets.data.records`.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.data.records import (
    BLANK,
    COLUMNS,
    CONTROL,
    DUPLICATE_ID,
    names_of,
    numbered,
    reject_repeated_ids,
    with_parts,
)
from qa_assets.tasks.classification.formats import PARTS, format_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

REASONS = {
    "not_an_object": "the record is no pair of label and text, or no JSON object",
    "text_missing": "there is no text",
    "text_blank": "the text is empty or blank",
    "text_too_long": "the text is longer than the task's max_chars",
    "control_characters": "the text or a label holds control characters",
    "label_missing": "there is no label",
    "several_labels": "there are several labels, and the task's multi_label is false",
    "label_not_in_train": "no good record of train has a label of this one",
    "in_another_split": "the same text stands in a split that models are measured on",
    DUPLICATE_ID: "a record before it in the file has the same id",
}
"""What can be wrong with a record, by the name it has in the table of rejected ones."""

_CORRUPT = "_corrupt_record"
_FIELDS = f"id string, text string, label string, labels array<string>, {_CORRUPT} string"
_RANKS = {"test": 2, "valid": 1}  # of two splits with the same text, the greater keeps it


def read_validated(
    spark: "SparkSession",
    paths: Sequence[Path],
    *,
    max_chars: int,
    separator: str | None,
    out_of_scope: str | None,
) -> "DataFrame":
    """Records of all files, checked; columns as in `qa_assets.data.records`.

    The group is the text without case and surplus blanks; the stratum its first label.

    Args:
        spark: a running session.
        paths: of files that `formats.inspect` accepts.
        max_chars: of a text.
        separator: between the labels of a text; None: a text has one label.
        out_of_scope: the label of texts that no label fits: they have no reference.

    The frame is persisted: `unpersist` it when done.
    """
    from pyspark.sql import functions as sf

    frames = [_records(spark, path, separator) for path in paths]
    records = reduce(lambda one, other: one.unionByName(other), frames)
    words = sf.regexp_replace(sf.lower(sf.trim("text")), r"\s+", " ")
    labels = sf.array_distinct(sf.filter("labels", lambda label: ~label.rlike(BLANK)))
    frame = records.withColumns({"labels": labels, "group": sf.coalesce(words, sf.lit(""))})
    reasons = sf.when(sf.col("malformed"), sf.array(sf.lit("not_an_object"))).otherwise(
        names_of(_faults(max_chars, single=separator is None))
    )
    in_scope = sf.array_remove("labels", out_of_scope) if out_of_scope else sf.col("labels")
    checked = frame.select(
        "file",
        "position",
        "place",
        "part",
        "id",
        "group",
        sf.struct("text").alias("inputs"),
        sf.coalesce(in_scope, sf.array().cast("array<string>")).alias("references"),
        sf.coalesce(sf.get("labels", sf.lit(0)), sf.lit("")).alias("stratum"),
        sf.struct(sf.lit(None).cast("string").alias("none")).alias("extra"),
        reasons.alias("reasons"),
        sf.lit(0).alias("repaired"),
        "record",
    )
    checked = with_parts(checked, [path.name for path in paths]).persist()
    related = _with_reasons_of_others(checked)
    kept = sf.when(sf.size("reasons") > 0, sf.col("record"))
    return reject_repeated_ids(related.withColumn("record", kept).select(*COLUMNS))


def labels_of(accepted: "DataFrame", out_of_scope: str | None) -> list[str]:
    """The labels of good records in alphabetical order, `out_of_scope` last if it occurs."""
    from pyspark.sql import functions as sf

    rows = accepted.select(sf.explode("references").alias("label")).distinct().collect()
    abstains = out_of_scope and not accepted.where("size(references) = 0").isEmpty()
    return sorted(row["label"] for row in rows) + ([out_of_scope] if abstains else [])


def _faults(max_chars: int, single: bool) -> "dict[str, Column]":
    from pyspark.sql import functions as sf

    text = sf.col("text")
    count = sf.size(sf.coalesce("labels", sf.array().cast("array<string>")))
    return {
        "text_missing": text.isNull(),
        "text_blank": text.rlike(BLANK),
        "text_too_long": sf.length(text) > max_chars,
        "control_characters": sf.concat_ws(" ", text, "labels").rlike(CONTROL),
        "label_missing": (count == 0) if single else sf.col("labels").isNull(),
        "several_labels": (count > 1) if single else sf.lit(False),
    }


def _with_reasons_of_others(checked: "DataFrame") -> "DataFrame":
    """Reject what only other records show to be bad: unknown labels, and leaked texts."""
    from pyspark.sql import functions as sf

    good = checked.where("size(reasons) = 0")
    known = sf.broadcast(
        good.where("part = 'train'")
        .select(sf.explode("references").alias("label"))
        .distinct()
        .agg(sf.collect_set("label").alias("known"))
    )
    rank = sf.coalesce(
        sf.create_map(*(sf.lit(item) for pair in _RANKS.items() for item in pair))[sf.col("part")],
        sf.lit(0),
    )
    greatest = good.groupBy("group").agg(sf.max(rank).alias("greatest")).where("greatest > 0")
    unknown = sf.size(sf.array_except("references", "known")) > 0
    leaked = sf.coalesce(sf.col("greatest"), sf.lit(0)) > rank
    late = names_of({"label_not_in_train": unknown, "in_another_split": leaked})
    return (
        checked.crossJoin(known)
        .join(greatest, "group", "left")
        .withColumn("reasons", sf.when(sf.size("reasons") > 0, sf.col("reasons")).otherwise(late))
    )


def _records(spark: "SparkSession", path: Path, separator: str | None) -> "DataFrame":
    """A file's records as found, with `text`, `labels` and `malformed` beside the usual columns.

    Labels are an array of text, null where there are none.
    """
    from pyspark.sql import functions as sf

    def listed(label: "Column") -> "Column":
        return sf.split(label, f"\\Q{separator}\\E") if separator else sf.array(label)

    kind = format_of(path)
    place: Column = sf.lit("line ")
    if kind == "json":
        return _clinc(spark, path)
    if kind == "tsv":
        lines = numbered(spark.read.text(str(path))).where("trim(value) != ''")
        tab = sf.instr("value", "\t")
        frame = lines.select(
            "position",
            sf.lit(None).cast("string").alias("id"),
            sf.when(tab > 0, sf.expr("substring(value, instr(value, '\t') + 1)")).alias("text"),
            listed(sf.substring_index("value", "\t", 1)).alias("labels"),
            (tab == 0).alias("malformed"),
            sf.col("value").alias("record"),
        )
    elif kind == "jsonl":
        lines = numbered(spark.read.text(str(path))).where("trim(value) != ''")
        options = {"columnNameOfCorruptRecord": _CORRUPT}
        parsed = lines.withColumn("fields", sf.from_json("value", _FIELDS, options))
        frame = parsed.select(
            "position",
            "fields.id",
            "fields.text",
            sf.coalesce("fields.labels", listed(sf.col("fields.label"))).alias("labels"),
            sf.col(f"fields.{_CORRUPT}").isNotNull().alias("malformed"),
            sf.col("value").alias("record"),
        )
    else:
        place = sf.lit("row ")
        table = (
            spark.read.parquet(str(path))
            if kind == "parquet"
            else spark.read.csv(str(path), header=True, multiLine=True, quote='"', escape='"')
        )
        name = "labels" if "labels" in table.columns else "label"
        is_list = dict(table.dtypes)[name].startswith("array")
        frame = numbered(table).select(
            "position",
            (sf.col("id") if "id" in table.columns else sf.lit(None)).cast("string").alias("id"),
            "text",
            (sf.col(name) if is_list else listed(sf.col(name))).alias("labels"),
            sf.lit(False).alias("malformed"),
            sf.to_json(sf.struct(*table.columns)).alias("record"),
        )
    stem = path.name.partition(".")[0]
    number = sf.col("position").cast("string")
    return frame.select(
        sf.lit(path.name).alias("file"),
        "position",
        sf.concat(place, number).alias("place"),
        sf.lit(None).cast("string").alias("part"),
        sf.coalesce("id", sf.concat(sf.lit(f"{stem}-"), number)).alias("id"),
        "text",
        sf.when(~sf.exists("labels", lambda label: label.isNull()), sf.col("labels")).alias(
            "labels"
        ),
        "malformed",
        "record",
    )


def _clinc(spark: "SparkSession", path: Path) -> "DataFrame":
    """The lists of CLINC150's JSON, which is one object in one file."""
    from pyspark.sql import functions as sf

    schema = ", ".join(f"{key} array<string>" for key in PARTS)
    content = spark.read.schema(schema).option("multiLine", True).json(str(path))
    frames = [
        content.select(sf.posexplode(key).alias("number", "record")).select(
            sf.lit(path.name).alias("file"),
            (sf.lit(order << 40) + sf.col("number")).alias("position"),
            sf.format_string(f"{key}[%d]", "number").alias("place"),
            sf.lit(part).alias("part"),
            sf.format_string(f"{key}-%d", "number").alias("id"),
            sf.from_json("record", "array<string>").alias("pair"),
            "record",
        )
        for order, (key, part) in enumerate(PARTS.items())
    ]
    rows = reduce(lambda one, other: one.unionAll(other), frames)
    return rows.select(
        *("file", "position", "place", "part", "id"),
        sf.get("pair", sf.lit(0)).alias("text"),
        sf.array(sf.get("pair", sf.lit(1))).alias("labels"),
        (sf.coalesce(sf.size("pair"), sf.lit(0)) != 2).alias("malformed"),
        "record",
    )
