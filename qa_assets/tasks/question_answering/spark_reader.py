"""SQuAD JSON, JSON Lines or Parquet as a Spark frame of records as found, with the place of each.

Only the structure around a record is checked here: its fields are text, or null where they are
missing or of a type that has no text. `validation` checks the fields.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.data.records import numbered
from qa_assets.tasks.question_answering.formats import Format, format_of

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

NOT_AN_OBJECT = "not_an_object"
NO_PARAGRAPHS = "article_without_paragraphs"
NO_QAS = "paragraph_without_qas"

RECORD = (
    "file", "position", "place", "record", "fault", "id", "title", "context", "of_context",
    "question", "answers", "is_impossible",
)  # fmt: skip
"""`fault` is the structural fault, `answers` an array of {text, answer_start}, both of text."""

OfContext = Callable[["Column"], "Column"]

_ANSWERS = "array<struct<text: string, answer_start: string>>"
_ANSWER_LISTS = "text array<string>, answer_start array<string>"
_CORRUPT = "_corrupt_record"
_FIELDS = f"id string, question string, answers string, is_impossible string, {_CORRUPT} string"
_LINE_FIELDS = f"title string, context string, {_FIELDS}"
# positions of SQuAD files: article, paragraph, question
_ARTICLE, _PARAGRAPH = 1 << 40, 1 << 20


def read_records(
    spark: "SparkSession", paths: Iterable[Path], of_context: OfContext
) -> "DataFrame":
    """The records of files that `files.inspect` has found readable; columns as in `RECORD`.

    Args:
        spark: a running session.
        paths: the files.
        of_context: computes the column of that name from a context: once for all questions about
            it, where the format has the context once.
    """
    from pyspark.sql import functions as sf

    frames = []
    by_format: dict[Format, list[Path]] = {}
    for path in paths:
        by_format.setdefault(format_of(path), []).append(path)
    for kind, some in by_format.items():
        if kind == "json":  # one plan for all of them: planning is most of the time of small files
            frames.append(_read_json(spark, some, of_context))
        else:
            read = _read_lines if kind == "jsonl" else _read_parquet
            frames += [
                read(spark, path).withColumn("of_context", of_context(sf.col("context")))
                for path in some
            ]
    return reduce(lambda one, other: one.unionAll(other), [each.select(*RECORD) for each in frames])


def _read_json(spark: "SparkSession", paths: list[Path], of_context: OfContext) -> "DataFrame":
    """SQuAD v1.1 or v2.0.

    Each level is parsed by itself, as text, so that a fault costs no more than its own part.
    """
    from pyspark.sql import functions as sf

    articles = (
        spark.read.schema("data array<string>")
        .option("multiLine", True)
        .json([str(path) for path in paths])
        .select(
            sf.col("_metadata.file_name").alias("file"), sf.posexplode("data").alias("i", "article")
        )
        # the file is one row: what follows is work for all cores
        .repartition(spark.sparkContext.defaultParallelism * 2, "file", "i")
        .select(
            "file",
            "i",
            "article",
            sf.from_json("article", "title string, paragraphs array<string>").alias("parsed"),
        )
        .select("file", "i", "parsed.*", _unless("parsed.paragraphs", "article"))
    )
    paragraphs = (
        articles.select(
            "file", "i", "title", "article", sf.posexplode_outer("paragraphs").alias("j", "text")
        )
        .where("article is not null or j is not null")
        .select("*", sf.from_json("text", "context string, qas array<string>").alias("parsed"))
        .select("file", "i", "j", "title", "article", "parsed.*", _unless("parsed.qas", "text"))
        .withColumnRenamed("text", "paragraph")
        .withColumn("of_context", of_context(sf.col("context")))
    )
    rows = (
        paragraphs.select("*", sf.posexplode_outer("qas").alias("k", "qa"))
        .where("article is not null or paragraph is not null or k is not null")
        .select("*", _parsed(sf.col("qa"), _FIELDS).alias("fields"))
    )
    position = (
        sf.col("i") * sf.lit(_ARTICLE)
        + sf.coalesce("j", sf.lit(0)) * sf.lit(_PARAGRAPH)
        + sf.coalesce("k", sf.lit(0))
    )
    return rows.select(
        "file",
        position.alias("position"),
        sf.concat(
            sf.concat(sf.lit("data["), "i", sf.lit("]")),
            sf.coalesce(sf.concat(sf.lit(".paragraphs["), "j", sf.lit("]")), sf.lit("")),
            sf.coalesce(sf.concat(sf.lit(".qas["), "k", sf.lit("]")), sf.lit("")),
        ).alias("place"),
        sf.coalesce("qa", "paragraph", "article", sf.lit("null")).alias("record"),
        sf.when(sf.col("j").isNull(), sf.lit(NO_PARAGRAPHS))
        .when(sf.col("k").isNull(), sf.lit(NO_QAS))
        .when(_is_corrupt(sf.col("fields")), sf.lit(NOT_AN_OBJECT))
        .alias("fault"),
        "title",
        "context",
        "of_context",
        *_typed("fields"),
    )


def _unless(parsed: str, text: str) -> "Column":
    """The text where nothing was parsed out of it: long texts are not carried to every question."""
    from pyspark.sql import functions as sf

    return sf.when(sf.col(parsed).isNull(), sf.coalesce(text, sf.lit("null"))).alias(text)


def _read_lines(spark: "SparkSession", path: Path) -> "DataFrame":
    from pyspark.sql import functions as sf

    return (
        numbered(spark.read.text(str(path)))
        .where("trim(value) != ''")
        .select(
            sf.lit(path.name).alias("file"),
            "position",
            sf.concat(sf.lit("line "), "position").alias("place"),
            sf.col("value").alias("record"),
            _parsed(sf.col("value"), _LINE_FIELDS).alias("fields"),
        )
        .select(
            "file",
            "position",
            "place",
            "record",
            sf.when(_is_corrupt(sf.col("fields")), sf.lit(NOT_AN_OBJECT)).alias("fault"),
            "fields.title",
            "fields.context",
            *_typed("fields"),
        )
    )


def _read_parquet(spark: "SparkSession", path: Path) -> "DataFrame":
    from pyspark.sql import functions as sf

    found = spark.read.parquet(str(path))
    optional = {
        name: sf.col(name) if name in found.columns else sf.lit(None)
        for name in ("title", "is_impossible")
    }
    listed = found.schema["answers"].dataType.typeName() == "array"
    rows = numbered(found)
    zipped = sf.col("answers") if listed else sf.arrays_zip("answers.text", "answers.answer_start")
    return rows.select(
        sf.lit(path.name).alias("file"),
        "position",
        sf.concat(sf.lit("row "), "position").alias("place"),
        sf.to_json(sf.struct(*found.columns)).alias("record"),
        sf.lit(None).cast("string").alias("fault"),
        "id",
        optional["title"].cast("string").alias("title"),
        "context",
        "question",
        _texts(zipped).alias("answers"),
        optional["is_impossible"].cast("string").alias("is_impossible"),
    )


def _texts(answers: "Column") -> "Column":
    """Answers of whatever integer type, in whatever order of the fields, as text."""
    from pyspark.sql import functions as sf

    return sf.transform(
        answers,
        lambda one: sf.struct(
            one["text"].alias("text"), one["answer_start"].cast("string").alias("answer_start")
        ),
    ).cast(_ANSWERS)


def _parsed(text: "Column", fields: str) -> "Column":
    from pyspark.sql import functions as sf

    return sf.from_json(text, fields, {"columnNameOfCorruptRecord": _CORRUPT})


def _is_corrupt(fields: "Column") -> "Column":
    return fields.isNull() | fields[_CORRUPT].isNotNull()


def _typed(fields: str) -> "list[Column]":
    """The fields of a parsed record; answers as a list of objects, or an object of lists (HF)."""
    from pyspark.sql import functions as sf

    text = sf.col(f"{fields}.answers")
    lists = sf.from_json(text, _ANSWER_LISTS)
    answers = (
        sf.when(text.startswith("["), sf.from_json(text, _ANSWERS))
        .when(
            text.startswith("{") & lists["text"].isNotNull(),
            _texts(
                sf.arrays_zip(
                    lists["text"].alias("text"), lists["answer_start"].alias("answer_start")
                )
            ),
        )
        .alias("answers")
    )
    return [
        sf.col(f"{fields}.id"),
        sf.col(f"{fields}.question"),
        answers,
        sf.col(f"{fields}.is_impossible"),
    ]
