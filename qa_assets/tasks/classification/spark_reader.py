"""The files of labelled texts as rows of Spark: text and labels, before anything is checked.

What makes a record bad is in `validation`; reading without Spark is in `formats`. Only
`Task.read` imports this: Spark comes with it.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.types import StringType, StructType

from qa_assets.data.records import numbered
from qa_assets.tasks.classification.formats import (
    PARTS,
    csv_columns,
    format_of,
    label_column,
    stem_of,
)

_CORRUPT = "_corrupt_record"
_FIELDS = f"id string, text string, label string, labels string, {_CORRUPT} string"


def read_records(spark: SparkSession, paths: Sequence[Path], separator: str | None) -> DataFrame:
    """The records of all files.

    Columns: `file`, `position`, `place`, `part`, `id` and `record` as `qa_assets.data.records` has
    them; `text`; `labels`, an array, null where there is no label; `malformed`, where there is
    neither; `not_text`, where JSON has another value than a text.

    Args:
        spark: a running session.
        paths: of files that `formats.inspect` accepts.
        separator: between the labels of a text; None: a text has one label.
    """
    return reduce(DataFrame.unionByName, (_read(spark, path, separator) for path in paths))


def _read(spark: SparkSession, path: Path, separator: str | None) -> DataFrame:
    kind = format_of(path)
    if kind == "json":
        return _clinc(spark, path, separator)
    readers = {"tsv": _tsv, "jsonl": _lines, "csv": _csv, "parquet": _parquet}
    own = sf.when(sf.col("id") != "", sf.col("id"))
    numbered_id = sf.concat(sf.lit(f"{stem_of(path)}-"), "position")
    return readers[kind](spark, path, separator).withColumns(
        {"part": sf.lit(None).cast("string"), "id": sf.coalesce(own, numbered_id)}
    )


def _split(label: Column, separator: str | None) -> Column:
    """A text of labels as an array."""
    parts = sf.split(label, f"\\Q{separator}\\E") if separator else sf.array(label)
    return sf.when(label.isNotNull(), parts)


def _of_json(label: Column, separator: str | None) -> Column:
    """A JSON value as labels; Spark spells lists and objects out where a text is asked for."""
    return (
        sf.when(label.startswith("["), _whole(sf.from_json(label, "array<string>")))
        .when(label.startswith("{"), None)
        .otherwise(_split(label, separator))
    )


def _whole(labels: Column) -> Column:
    """Labels, or null where one of them is null."""
    return sf.when(~sf.exists(labels, lambda label: label.isNull()), labels)


def _tsv(spark: SparkSession, path: Path, separator: str | None) -> DataFrame:
    lines = numbered(spark.read.text(str(path)), path.name, "line").where(r"value rlike '\\S'")
    tab = sf.instr("value", "\t")
    return lines.select(
        *("file", "position", "place"),
        sf.lit(None).cast("string").alias("id"),
        sf.when(tab > 0, sf.expr("substring(value, instr(value, '\t') + 1)")).alias("text"),
        sf.lit(False).alias("not_text"),
        _split(sf.substring_index("value", "\t", 1), separator).alias("labels"),
        (tab == 0).alias("malformed"),
        sf.col("value").alias("record"),
    )


def _lines(spark: SparkSession, path: Path, separator: str | None) -> DataFrame:
    lines = numbered(spark.read.text(str(path)), path.name, "line").where(r"value rlike '\\S'")
    options = {"columnNameOfCorruptRecord": _CORRUPT}
    fields = sf.from_json("value", _FIELDS, options)
    label = sf.coalesce("fields.labels", "fields.label")
    return lines.withColumn("fields", fields).select(
        *("file", "position", "place", "fields.id", "fields.text"),
        (~sf.col("value").rlike(r'"text"\s*:\s*"')).alias("not_text"),
        _of_json(label, separator).alias("labels"),
        sf.col(f"fields.{_CORRUPT}").isNotNull().alias("malformed"),
        sf.col("value").alias("record"),
    )


def _csv(spark: SparkSession, path: Path, separator: str | None) -> DataFrame:
    columns = csv_columns(path)
    schema = StructType()
    for name in (*columns, _CORRUPT):
        schema = schema.add(name, StringType())
    table = spark.read.schema(schema).csv(
        str(path), header=True, multiLine=True, quote='"', escape='"',
        columnNameOfCorruptRecord=_CORRUPT,
    )  # fmt: skip
    return _of_table(table, path, columns, _split(sf.col("label"), separator))


def _parquet(spark: SparkSession, path: Path, separator: str | None) -> DataFrame:
    table = spark.read.parquet(str(path))
    name = label_column(table.columns) or "label"
    label = sf.col(name)
    is_list = dict(table.dtypes)[name].startswith("array")
    labels = (
        _whole(label.cast("array<string>")) if is_list else _split(label.cast("string"), separator)
    )
    corrupt = sf.lit(None).cast("string").alias(_CORRUPT)
    return _of_table(table.select("*", corrupt), path, table.columns, labels)


def _of_table(table: DataFrame, path: Path, columns: list[str], labels: Column) -> DataFrame:
    whole = sf.to_json(sf.struct(*(sf.col(f"`{name}`") for name in columns)))
    rows = table.select(
        (sf.col("id") if "id" in columns else sf.lit(None)).cast("string").alias("id"),
        "text",
        sf.lit(False).alias("not_text"),
        labels.alias("labels"),
        sf.col(_CORRUPT).isNotNull().alias("malformed"),
        sf.coalesce(_CORRUPT, whole).alias("record"),
    )
    return numbered(rows, path.name, "row")


def _clinc(spark: SparkSession, path: Path, separator: str | None) -> DataFrame:
    """The lists of CLINC150's JSON, which is one object in one file."""
    schema = ", ".join(f"{key} array<string>" for key in PARTS)
    content = spark.read.schema(schema).option("multiLine", True).json(str(path))
    # a part at a time: exploding an array of all parts would repeat it in each row
    parts = [
        content.select(
            sf.lit(order).alias("order"),
            sf.lit(key).alias("key"),
            sf.lit(part).alias("part"),
            sf.posexplode(key).alias("number", "record"),
        )
        for order, (key, part) in enumerate(PARTS.items())
    ]
    rows = reduce(DataFrame.unionByName, parts)
    pair = sf.from_json("record", "array<string>")
    return rows.withColumn("pair", pair).select(
        sf.lit(path.name).alias("file"),
        (sf.shiftleft(sf.col("order").cast("bigint"), 40) + sf.col("number")).alias("position"),
        sf.format_string("%s[%d]", "key", "number").alias("place"),
        "part",
        sf.format_string("%s-%d", "key", "number").alias("id"),
        sf.get("pair", sf.lit(0)).alias("text"),
        (~sf.col("record").rlike(r'^\[\s*"')).alias("not_text"),
        _of_json(sf.get("pair", sf.lit(1)), separator).alias("labels"),
        (sf.coalesce(sf.size("pair"), sf.lit(0)) != 2).alias("malformed"),
        "record",
    )
