"""Which SQuAD records are good, decided in Spark, and what is wrong with the others.

Fields are checked as column expressions; a record gets all its reasons. What all tasks do with
checked records is in `qa_assets.data.records`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.data.records import (
    BLANK,
    COLUMNS,
    CONTROL,
    DUPLICATE_ID,
    NOT_TEXT,
    names_of,
    reject_repeated_ids,
)
from qa_assets.tasks.question_answering import spark_reader
from qa_assets.tasks.question_answering.offsets import ANSWERS, placed, repaired

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

REASONS = {
    spark_reader.NO_PARAGRAPHS: "the article is no object, or has no list of paragraphs",
    spark_reader.NO_QAS: "the paragraph is no object, or has no list of qas",
    spark_reader.NOT_AN_OBJECT: "the record is not one JSON object",
    "id_missing": "the id is missing or blank",
    "question_missing": "there is no question",
    "question_not_text": "the question is a number, true or false, a list or an object",
    "question_blank": "the question is empty or blank",
    "question_too_long": "the question is longer than the task's max_question_chars",
    "context_missing": "there is no context",
    "context_not_text": "the context is a number, true or false, a list or an object",
    "context_blank": "the context is empty or blank",
    "context_too_long": "the context is longer than the task's max_context_chars",
    "control_characters": "id, title, question, context or an answer hold control characters",
    "answers_missing": "the answers are missing, or not a list of {text, answer_start}",
    "answer_blank": "the text of an answer is missing, empty or blank",
    "answer_not_in_context": "the text of an answer occurs nowhere in the context",
    "is_impossible_not_boolean": "is_impossible is neither true nor false",
    "unanswerable_with_answers": "is_impossible is true, and there are answers",
    "answerable_without_answers": "is_impossible is false, and there are no answers",
    DUPLICATE_ID: "a record before it in the file has the same id",
}
"""What can be wrong with a record, by the name it has in the table of rejected ones."""

ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"
"""The strata."""
_STRUCTURE = (spark_reader.NO_PARAGRAPHS, spark_reader.NO_QAS, spark_reader.NOT_AN_OBJECT)


def read_validated(
    spark: "SparkSession", paths: Iterable[Path], max_context_chars: int, max_question_chars: int
) -> "DataFrame":
    """Records of all files, checked; columns as in `qa_assets.data.records`.

    The group is the article; a record without a title gets one made from its context. `extra` has
    `answers` (`ANSWERS`, offsets put right).

    The frame is persisted: `unpersist` it when done.
    """
    found = spark_reader.read_records(
        spark, paths, lambda context: names_of(_context_faults(context, max_context_chars))
    )
    return reject_repeated_ids(_checked(found, max_question_chars))


def _checked(records: "DataFrame", max_question_chars: int) -> "DataFrame":
    from pyspark.sql import functions as sf

    no_answers = sf.size(sf.coalesce("answers", sf.array())) <= 0
    stated = sf.lower("is_impossible")
    frame = records.withColumn(
        "impossible",
        sf.when(stated.isNull(), no_answers).when(stated.isin("true", "false"), stated == "true"),
    ).withColumn("placed", placed(sf.col("answers"), sf.col("context")))
    reasons = sf.array_distinct(sf.concat("of_context", names_of(_faults(max_question_chars))))
    answers = sf.coalesce("placed", sf.array().cast(ANSWERS))
    return (
        frame.select(
            "file",
            "position",
            "place",
            sf.lit(None).cast("string").alias("part"),
            "id",
            sf.when(sf.col("title").rlike(BLANK) | sf.col("title").isNull(), _title_of_context())
            .otherwise(sf.col("title"))
            .alias("group"),
            sf.struct("question", "context").alias("inputs"),
            sf.array_distinct(answers["text"]).alias("references"),
            sf.when(sf.col("impossible"), UNANSWERABLE).otherwise(ANSWERABLE).alias("stratum"),
            sf.struct(answers.alias("answers")).alias("extra"),
            sf.when(sf.col("fault").isNull(), reasons)
            .otherwise(sf.array("fault"))
            .alias("reasons"),
            repaired(sf.col("answers"), sf.col("placed")).alias("repaired"),
            "record",
        )
        .withColumn("record", sf.when(sf.size("reasons") > 0, sf.col("record")))
        .select(*COLUMNS)
    )


def _title_of_context() -> "Column":
    from pyspark.sql import functions as sf

    return sf.concat(sf.lit("context "), sf.substring(sf.sha2("context", 256), 1, 16))


def _context_faults(context: "Column", max_chars: int) -> "dict[str, Column]":
    """What makes a context bad, by its reason; null counts as not."""
    from pyspark.sql import functions as sf

    return {
        "context_missing": context.isNull(),
        "context_not_text": context.rlike(NOT_TEXT),
        "context_blank": context.rlike(BLANK),
        "context_too_long": sf.length(context) > max_chars,
        "control_characters": context.rlike(CONTROL),
    }


def _faults(max_question_chars: int) -> "dict[str, Column]":
    """What else makes a record bad, by its reason; null counts as not."""
    from pyspark.sql import functions as sf

    def blank(name: str) -> "Column":
        return sf.col(name).rlike(BLANK)

    answers, placed_answers = sf.col("answers"), sf.col("placed")
    some = sf.size(sf.coalesce(answers, sf.array())) > 0
    stated = sf.col("is_impossible").isNotNull()
    impossible = sf.col("impossible")
    return {
        "id_missing": sf.col("id").isNull() | blank("id"),
        "question_missing": sf.col("question").isNull(),
        "question_not_text": sf.col("question").rlike(NOT_TEXT),
        "question_blank": blank("question"),
        "question_too_long": sf.length("question") > max_question_chars,
        "control_characters": sf.concat_ws(" ", "id", "title", "question", answers["text"]).rlike(
            CONTROL
        ),
        "answers_missing": answers.isNull(),
        "answer_blank": sf.exists(
            answers, lambda one: one["text"].isNull() | one["text"].rlike(BLANK)
        ),
        "answer_not_in_context": sf.col("context").isNotNull()
        & sf.exists(
            placed_answers,
            lambda one: ~one["text"].rlike(BLANK) & one["answer_start"].isNull(),
        ),
        "is_impossible_not_boolean": stated & impossible.isNull(),
        "unanswerable_with_answers": stated & impossible & some,
        "answerable_without_answers": stated & ~impossible & answers.isNotNull() & ~some,
    }
