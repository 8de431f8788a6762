"""Which SQuAD records are good, decided in Spark, and what is wrong with the others.

Fields are checked as column expressions; a record gets all its reasons. What all tasks do with
checked records is in `qa_assets.data.records`. Only `Task.read` imports this: Spark comes with it.
"""

from collections.abc import Iterable
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf

from qa_assets.data.records import BLANK, CONTROL, NOT_TEXT, names_of, reject_repeated_ids
from qa_assets.tasks.question_answering import spark_reader
from qa_assets.tasks.question_answering.offsets import ANSWERS, placed, repaired

ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"
"""The strata."""


def read_validated(
    spark: SparkSession, paths: Iterable[Path], max_context_chars: int, max_question_chars: int
) -> DataFrame:
    """Records of all files, checked; columns as in `qa_assets.data.records`.

    The group is the article; a record without a title gets one made from its context. `extra` has
    `answers` (`ANSWERS`, offsets put right).

    The frame is persisted: `unpersist` it when done.
    """
    records = spark_reader.read_records(
        spark, paths, lambda context: names_of(_context_faults(context, max_context_chars))
    )
    no_answers = sf.size(sf.coalesce("answers", sf.array())) <= 0
    stated = sf.lower("is_impossible")
    frame = records.withColumn(
        "impossible",
        sf.when(stated.isNull(), no_answers).when(stated.isin("true", "false"), stated == "true"),
    ).withColumn("placed", placed(sf.col("answers"), sf.col("context")))
    faults = sf.array_distinct(sf.concat("of_context", names_of(_faults(max_question_chars))))
    reasons = sf.when(sf.col("fault").isNull(), faults).otherwise(sf.array("fault"))
    answers = sf.coalesce("placed", sf.array().cast(ANSWERS))
    title_of_context = sf.concat(sf.lit("context "), sf.substring(sf.sha2("context", 256), 1, 16))
    checked = frame.withColumns(
        {
            "part": sf.lit(None).cast("string"),
            "group": sf.when(~sf.col("title").rlike(BLANK), sf.col("title")).otherwise(
                title_of_context
            ),
            "inputs": sf.struct("question", "context"),
            "references": sf.array_distinct(answers["text"]),
            "stratum": sf.when(sf.col("impossible"), UNANSWERABLE).otherwise(ANSWERABLE),
            "extra": sf.struct(answers.alias("answers")),
            "reasons": reasons,
            "repaired": repaired(sf.col("answers"), sf.col("placed")),
        }
    )
    return reject_repeated_ids(checked)


def _context_faults(context: Column, max_chars: int) -> dict[str, Column]:
    """What makes a context bad, by its reason; null counts as not."""
    return {
        "context_missing": context.isNull(),
        "context_not_text": context.rlike(NOT_TEXT),
        "context_blank": context.rlike(BLANK),
        "context_too_long": sf.length(context) > max_chars,
        "control_characters": context.rlike(CONTROL),
    }


def _faults(max_question_chars: int) -> dict[str, Column]:
    """What else makes a record bad, by its reason; null counts as not."""
    answers, context, question = sf.col("answers"), sf.col("context"), sf.col("question")
    some = sf.size(sf.coalesce(answers, sf.array())) > 0
    stated, impossible = sf.col("is_impossible").isNotNull(), sf.col("impossible")
    texts = sf.concat_ws(" ", "id", "title", "question", answers["text"])
    return {
        "id_missing": sf.col("id").isNull() | sf.col("id").rlike(BLANK),
        "question_missing": question.isNull(),
        "question_not_text": question.rlike(NOT_TEXT),
        "question_blank": question.rlike(BLANK),
        "question_too_long": sf.length(question) > max_question_chars,
        "control_characters": texts.rlike(CONTROL),
        "answers_missing": answers.isNull(),
        "answer_blank": sf.exists(answers, lambda a: a["text"].isNull() | a["text"].rlike(BLANK)),
        "answer_not_in_context": context.isNotNull()
        & sf.exists("placed", lambda a: ~a["text"].rlike(BLANK) & a["answer_start"].isNull()),
        "is_impossible_not_boolean": stated & impossible.isNull(),
        "unanswerable_with_answers": stated & impossible & some,
        "answerable_without_answers": stated & ~impossible & answers.isNotNull() & ~some,
    }
