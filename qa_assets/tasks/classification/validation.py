"""Which labelled texts are good, decided in Spark, and what is wrong with the others.

How files become rows is in `spark_reader`, what all tasks do with checked records in
`qa_assets.data.records`. Only `Task.read` imports this: Spark comes with it.
"""

from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as sf

from qa_assets.data.records import BLANK, CONTROL, names_of, reject_repeated_ids, with_parts
from qa_assets.tasks.classification.spark_reader import read_records

_RANKS = {"test": 2, "valid": 1}  # of two splits with the same text, the greater keeps it


def read_validated(
    spark: SparkSession,
    paths: Sequence[Path],
    *,
    max_chars: int,
    separator: str | None,
    out_of_scope: str | None,
) -> DataFrame:
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
    records = read_records(spark, paths, separator)
    words = sf.regexp_replace(sf.lower(sf.trim("text")), r"\s+", " ")
    trimmed = sf.transform("labels", lambda label: sf.regexp_replace(label, r"^\s+|\s+$", ""))
    labels = sf.array_distinct(sf.filter(trimmed, lambda label: ~label.rlike(BLANK)))
    frame = records.withColumns(
        {
            "repaired": (trimmed != sf.col("labels")).cast("int"),
            "labels": labels,
            "group": sf.coalesce(words, sf.lit("")),
        }
    )
    reasons = sf.when(sf.col("malformed"), sf.array(sf.lit("malformed"))).otherwise(
        names_of(_faults(max_chars, separator))
    )
    in_scope = sf.array_remove("labels", out_of_scope) if out_of_scope else sf.col("labels")
    checked = frame.select(
        *("file", "position", "place", "part", "id", "group"),
        sf.struct("text").alias("inputs"),
        sf.coalesce(in_scope, sf.array().cast("array<string>")).alias("references"),
        sf.coalesce(sf.get("labels", sf.lit(0)), sf.lit("")).alias("stratum"),
        sf.struct(sf.lit(None).cast("string").alias("none")).alias("extra"),
        reasons.alias("reasons"),
        sf.coalesce("repaired", sf.lit(0)).alias("repaired"),
        "record",
    )
    return reject_repeated_ids(_compared(with_parts(checked, [path.name for path in paths])))


def train_labels(accepted: DataFrame, out_of_scope: str | None) -> list[str]:
    """The labels of good records in alphabetical order, `out_of_scope` last if it occurs."""
    rows = accepted.select(sf.explode("references").alias("label")).distinct().collect()
    abstains = out_of_scope and not accepted.where("size(references) = 0").isEmpty()
    return sorted(row["label"] for row in rows) + ([out_of_scope] if abstains else [])


def _faults(max_chars: int, separator: str | None) -> dict[str, Column]:
    """What makes a record bad in itself, by its reason; null counts as not."""
    text, labels = sf.col("text"), sf.col("labels")
    single = separator is None
    return {
        "text_missing": text.isNull(),
        "text_not_text": sf.col("not_text") & text.isNotNull(),
        "text_blank": text.rlike(BLANK),
        "text_too_long": sf.length(text) > max_chars,
        "control_characters": sf.concat_ws(" ", text, labels).rlike(CONTROL),
        "label_missing": labels.isNull() | (sf.size(labels) == 0 if single else sf.lit(False)),
        "label_with_separator": sf.exists(labels, lambda label: label.contains(separator))
        if separator
        else sf.lit(False),
        "several_labels": (sf.size(labels) > 1) if single else sf.lit(False),
    }


def _compared(checked: DataFrame) -> DataFrame:
    """Reject what only other records show to be bad: leaked texts, and labels new to train."""
    good = sf.size("reasons") == 0
    rank = sf.coalesce(
        sf.create_map(*(sf.lit(item) for pair in _RANKS.items() for item in pair))[sf.col("part")],
        sf.lit(0),
    )
    greatest = sf.max(sf.when(good, rank)).over(Window.partitionBy("group"))
    leaked = sf.when(good & (greatest > rank), sf.array(sf.lit("in_another_split")))
    checked = checked.withColumn("reasons", sf.coalesce(leaked, "reasons"))
    known = sf.broadcast(
        checked.where(good & (sf.col("part") == "train"))
        .select(sf.explode("references").alias("label"))
        .agg(sf.collect_set("label").alias("known"))
    )
    strange = good & (sf.size(sf.array_except("references", "known")) > 0)
    late = sf.when(strange, sf.array(sf.lit("label_not_in_train"))).otherwise(sf.col("reasons"))
    return checked.crossJoin(known).withColumn("reasons", late).drop("known")
