"""SQuAD JSON, JSON Lines or Parquet as a Spark frame of records as found, with the place of each.

Only the structure around a record is checked here: its fields are text, or null where they are
missing or of a type that has no text. `validation` checks the fields. Only `Task.read` imports
this: Spark comes with it.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf

from qa_assets.data.records import numbered
from qa_assets.tasks.question_answering.formats import format_of

NOT_AN_OBJECT = "not_an_object"
NO_PARAGRAPHS = "article_without_paragraphs"
NO_QAS = "paragraph_without_qas"

RECORD = (
    "file", "position", "place", "record", "fault", "id", "title", "context", "of_context",
    "question", "answers", "is_impossible",
)  # fmt: skip
"""`fault` is the structural fault, `answers` an array of {text, answer_start}, both of text."""

OfContext = Callable[[Column], Column]

_ANSWERS = "array<struct<text: string, answer_start: string>>"
_ANSWER_LISTS = "text array<string>, answer_start array<string>"
_CORRUPT = "_corrupt_record"
_FIELDS = (
    "title string, context string, id string, question string, answers string,"
    f" is_impossible string, {_CORRUPT} string"
)
_POSITION = "shiftleft(bigint(i), 40) + shiftleft(bigint(nvl(j, 0)), 20) + nvl(k, 0)"
_IS_CORRUPT = f"fields is null or fields.{_CORRUPT} is not null"


def read_records(spark: SparkSession, paths: Iterable[Path], of_context: OfContext) -> DataFrame:
    """The records of files that `formats.inspect` has found readable; columns as in `RECORD`.

    `of_context` computes the column of that name from a context: once for all questions about it,
    where the format has the context once.
    """
    kinds = {path: format_of(path) for path in paths}
    # one plan for all files of SQuAD: planning is most of the time of small files
    squad = [path for path, kind in kinds.items() if kind == "json"]
    frames = [_read_json(spark, squad, of_context)] if squad else []
    readers = {"jsonl": _read_lines, "parquet": _read_parquet}
    frames += [
        readers[kind](spark, path).withColumn("of_context", of_context(sf.col("context")))
        for path, kind in kinds.items()
        if kind != "json"
    ]
    return reduce(DataFrame.unionAll, (frame.select(*RECORD) for frame in frames))


def _read_json(spark: SparkSession, paths: list[Path], of_context: OfContext) -> DataFrame:
    """SQuAD v1.1 or v2.0.

    Each level is parsed by itself, as text, so that a fault costs no more than its own part.
    """
    articles = (
        spark.read.schema("data array<string>")
        .option("multiLine", True)
        .json([str(path) for path in paths])
        .selectExpr("_metadata.file_name as file", "posexplode(data) as (i, article)")
        # the file is one row: what follows is work for all cores
        .repartition(spark.sparkContext.defaultParallelism * 2, "file", "i")
    )
    paragraphs = (
        _parsed(articles, "article", "title string", "paragraphs")
        .select("file", "i", "title", "article", sf.posexplode_outer("paragraphs").alias("j", "p"))
        .where("article is not null or j is not null")
    )
    rows = (
        _parsed(paragraphs, "p", "context string", "qas")
        .withColumn("of_context", of_context(sf.col("context")))
        .select("*", sf.posexplode_outer("qas").alias("k", "qa"))
        .where("article is not null or p is not null or k is not null")
        .withColumn("fields", _fields("qa"))
    )
    return rows.select(
        "file",
        sf.expr(_POSITION).alias("position"),
        sf.concat_ws(
            "",
            sf.concat(sf.lit("data["), "i", sf.lit("]")),
            sf.concat(sf.lit(".paragraphs["), "j", sf.lit("]")),
            sf.concat(sf.lit(".qas["), "k", sf.lit("]")),
        ).alias("place"),
        sf.coalesce("qa", "article", "p", sf.lit("null")).alias("record"),
        sf.when(sf.col("j").isNull(), sf.lit(NO_PARAGRAPHS))
        .when(sf.col("k").isNull(), sf.lit(NO_QAS))
        .when(sf.expr(_IS_CORRUPT), sf.lit(NOT_AN_OBJECT))
        .alias("fault"),
        *("title", "context", "of_context", "fields.id", "fields.question"),
        _answers("fields.answers"),
        "fields.is_impossible",
    )


def _parsed(frame: DataFrame, text: str, fields: str, children: str) -> DataFrame:
    """Parse a text. It stays only where it has no list of children: it is long, and they many."""
    parsed = sf.from_json(text, f"{fields}, {children} array<string>")
    kept = sf.expr(f"if(parsed.{children} is null, nvl({text}, 'null'), null)")
    return frame.withColumn("parsed", parsed).withColumn(text, kept).select("*", "parsed.*")


def _read_lines(spark: SparkSession, path: Path) -> DataFrame:
    lines = numbered(spark.read.text(str(path)), path.name, "line").where("trim(value) != ''")
    fault = sf.when(sf.expr(_IS_CORRUPT), sf.lit(NOT_AN_OBJECT)).alias("fault")
    return (
        lines.withColumnRenamed("value", "record")
        .withColumn("fields", _fields("record"))
        .select("*", "fields.*", fault)
        .withColumn("answers", _answers("answers"))
    )


def _read_parquet(spark: SparkSession, path: Path) -> DataFrame:
    table = spark.read.parquet(str(path))
    listed = table.schema["answers"].dataType.typeName() == "array"
    answers = sf.col("answers") if listed else sf.arrays_zip("answers.text", "answers.answer_start")
    rows = table.select(
        sf.to_json(sf.struct(*table.columns)).alias("record"),
        sf.lit(None).cast("string").alias("fault"),
        *("id", "context", "question"),
        _texts(answers).alias("answers"),
        *(
            (sf.col(name) if name in table.columns else sf.lit(None)).cast("string").alias(name)
            for name in ("title", "is_impossible")
        ),
    )
    return numbered(rows, path.name, "row")


def _texts(answers: Column) -> Column:
    """Answers of whatever integer type, in whatever order of the fields, as text."""

    def as_text(answer: Column) -> Column:
        start = answer["answer_start"].cast("string")
        return sf.struct(answer["text"].alias("text"), start.alias("answer_start"))

    return sf.transform(answers, as_text).cast(_ANSWERS)


def _fields(text: str) -> Column:
    return sf.from_json(text, _FIELDS, {"columnNameOfCorruptRecord": _CORRUPT})


def _answers(text: str) -> Column:
    """Answers as a list of objects, or an object of lists (HF)."""
    lists = sf.from_json(text, _ANSWER_LISTS)
    zipped = sf.arrays_zip(lists["text"].alias("text"), lists["answer_start"].alias("answer_start"))
    is_lists = sf.col(text).startswith("{") & lists["text"].isNotNull()
    return (
        sf.when(sf.col(text).startswith("["), sf.from_json(text, _ANSWERS))
        .when(is_lists, _texts(zipped))
        .alias("answers")
    )
