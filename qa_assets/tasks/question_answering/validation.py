"""Every record checked in Spark: what is wrong with it, which offsets were repaired, how many.

A bad record is kept as it was found, with its reasons; nothing is dropped silently.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.settings import DataSettings
from qa_assets.tasks.question_answering import records
from qa_assets.tasks.question_answering.offsets import ANSWERS, placed, repaired

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

REASONS = {
    records.NO_PARAGRAPHS: "the article is no object, or its paragraphs are missing or no list",
    records.NO_QAS: "the paragraph is no object, or its qas are missing or no list",
    records.NOT_AN_OBJECT: "the record is not one JSON object",
    "id_missing": "the id is missing or blank",
    "question_missing": "there is no question",
    "question_not_text": "the question is a number, true or false, a list or an object",
    "question_blank": "the question is empty or blank",
    "question_too_long": "the question is longer than QA_ASSETS_DATA_MAX_QUESTION_CHARS",
    "context_missing": "there is no context",
    "context_not_text": "the context is a number, true or false, a list or an object",
    "context_blank": "the context is empty or blank",
    "context_too_long": "the context is longer than QA_ASSETS_DATA_MAX_CONTEXT_CHARS",
    "control_characters": "id, title, question, context or an answer hold control characters",
    "answers_missing": "the answers are missing, or not a list of {text, answer_start}",
    "answer_blank": "the text of an answer is missing, empty or blank",
    "answer_not_in_context": "the text of an answer occurs nowhere in the context",
    "is_impossible_not_boolean": "is_impossible is neither true nor false",
    "unanswerable_with_answers": "is_impossible is true, and there are answers",
    "answerable_without_answers": "is_impossible is false, and there are no answers",
    "duplicate_id": "a record before it in the file has the same id",
}
"""What can be wrong with a record, by the name it has in the table of rejected ones."""

REJECTED = ("file", "place", "id", "reasons", "record")
"""Columns of the table of rejected records; `record` is its JSON as found."""

_STRUCTURE = (records.NO_PARAGRAPHS, records.NO_QAS, records.NOT_AN_OBJECT)
_BLANK = r"^[\s\u0085\u00a0\u2000-\u200b\u3000\ufeff]*$"
_NOT_TEXT = r"^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|(?s:\{\".*\}|\{\}|\[.*\]))$"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]"  # all but tab, line ends


@dataclass(frozen=True)
class Summary:
    """What came of a file; `repaired` counts records with an offset that was put right."""

    records: int
    rejected: int
    repaired: int
    reasons: dict[str, int]

    @property
    def rejected_share(self) -> float:
        """Rejected records by all records; 1 where there is none."""
        return self.rejected / self.records if self.records else 1.0


def read_validated(
    spark: "SparkSession", paths: Iterable[Path], settings: DataSettings
) -> "DataFrame":
    """Records of all files, checked.

    Columns: `file` (the file's name), `place`, `position`, `id, title, context, question`,
    `answers` (`ANSWERS`, offsets repaired), `is_impossible`, `reasons` (an array, empty where the
    record is good), `repaired` (number of answers whose offset was put right) and `record` (null
    where the record is good). A record without a title gets one made from its context.

    The frame is persisted: `unpersist` it when done.
    """
    from pyspark.sql import functions as F  # noqa: N812

    read = records.read_records(
        spark, paths, lambda context: _found(_context_faults(context, settings))
    )
    checked = _checked(read, settings).persist()
    repeated = (
        checked.where("size(reasons) = 0")
        .groupBy("file", "id")
        .agg(F.count("*").alias("count"), F.min("position").alias("first"))
        .where("count > 1")
        .select("file", "id", "first")
        .persist()
    )
    if repeated.isEmpty():
        repeated.unpersist()
        return checked
    fields = ("id", "title", "context", "question", "answers", "is_impossible")
    again = (F.size("reasons") == 0) & (F.col("position") > F.col("first"))
    return (
        checked.join(F.broadcast(repeated), ["file", "id"], "left")
        .withColumn(
            "record", F.when(again, F.to_json(F.struct(*fields))).otherwise(F.col("record"))
        )
        .withColumn(
            "reasons",
            F.when(again, F.array(F.lit("duplicate_id"))).otherwise(F.col("reasons")),
        )
        .drop("first")
    )


def _checked(records: "DataFrame", settings: DataSettings) -> "DataFrame":
    from pyspark.sql import functions as F  # noqa: N812

    judged = records.withColumn(
        "impossible",
        F.when(F.col("is_impossible").isNull(), F.size(F.coalesce("answers", F.array())) <= 0).when(
            F.lower("is_impossible").isin("true", "false"), F.lower("is_impossible") == "true"
        ),
    ).withColumn("placed", placed(F.col("answers"), F.col("context")))
    reasons = F.array_distinct(F.concat("of_context", _found(_faults(settings))))
    return judged.select(
        "file",
        "position",
        "place",
        "id",
        F.when(F.col("title").rlike(_BLANK) | F.col("title").isNull(), _title_of_context())
        .otherwise(F.col("title"))
        .alias("title"),
        "context",
        "question",
        F.coalesce("placed", F.array().cast(ANSWERS)).alias("answers"),
        F.col("impossible").alias("is_impossible"),
        F.when(F.col("fault").isNull(), reasons).otherwise(F.array("fault")).alias("reasons"),
        repaired(F.col("answers"), F.col("placed")).alias("repaired"),
        "record",
    ).withColumn("record", F.when(F.size("reasons") > 0, F.col("record")))


def _title_of_context() -> "Column":
    from pyspark.sql import functions as F  # noqa: N812

    return F.concat(F.lit("context "), F.substring(F.sha2("context", 256), 1, 16))


def _found(faults: "Mapping[str, Column]") -> "Column":
    """The names of those that are true."""
    from pyspark.sql import functions as F  # noqa: N812

    # higher-order functions such as filter are not compiled, nor is what they are given
    names = [F.when(wrong, F.lit(name)).otherwise(F.lit("")) for name, wrong in faults.items()]
    return F.array_remove(F.array(*names), "")


def _context_faults(context: "Column", settings: DataSettings) -> "dict[str, Column]":
    """What makes a context bad, by its reason; null counts as not."""
    from pyspark.sql import functions as F  # noqa: N812

    return {
        "context_missing": context.isNull(),
        "context_not_text": context.rlike(_NOT_TEXT),
        "context_blank": context.rlike(_BLANK),
        "context_too_long": F.length(context) > settings.max_context_chars,
        "control_characters": context.rlike(_CONTROL),
    }


def _faults(settings: DataSettings) -> "dict[str, Column]":
    """What else makes a record bad, by its reason; null counts as not."""
    from pyspark.sql import functions as F  # noqa: N812

    def blank(name: str) -> "Column":
        return F.col(name).rlike(_BLANK)

    answers, found = F.col("answers"), F.col("placed")
    some = F.size(F.coalesce(answers, F.array())) > 0
    stated = F.col("is_impossible").isNotNull()
    impossible = F.col("impossible")
    return {
        "id_missing": F.col("id").isNull() | blank("id"),
        "question_missing": F.col("question").isNull(),
        "question_not_text": F.col("question").rlike(_NOT_TEXT),
        "question_blank": blank("question"),
        "question_too_long": F.length("question") > settings.max_question_chars,
        "control_characters": F.concat_ws(" ", "id", "title", "question", answers["text"]).rlike(
            _CONTROL
        ),
        "answers_missing": answers.isNull(),
        "answer_blank": F.exists(
            answers, lambda one: one["text"].isNull() | one["text"].rlike(_BLANK)
        ),
        "answer_not_in_context": F.col("context").isNotNull()
        & F.exists(
            found,
            lambda one: ~one["text"].rlike(_BLANK) & one["answer_start"].isNull(),
        ),
        "is_impossible_not_boolean": stated & impossible.isNull(),
        "unanswerable_with_answers": stated & impossible & some,
        "answerable_without_answers": stated & ~impossible & answers.isNotNull() & ~some,
    }


def summarise(validated: "DataFrame") -> dict[str, Summary]:
    """The summary of each file, by its name."""
    from pyspark.sql import functions as F  # noqa: N812

    rows = (
        validated.select(
            "file",
            "repaired",
            F.explode_outer("reasons").alias("reason"),
            F.size("reasons").alias("faults"),
        )
        .groupBy("file", "reason")
        .agg(
            F.count("*").alias("count"),
            F.sum(F.when(F.col("faults") > 0, 1 / F.col("faults"))).alias("rejected"),
            F.sum(F.when((F.col("faults") == 0) & (F.col("repaired") > 0), 1)).alias("repaired"),
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


def rejected(validated: "DataFrame") -> "DataFrame":
    """The table of rejected records, in the order of the files; columns as in `REJECTED`."""
    return validated.where("size(reasons) > 0").orderBy("file", "position").select(*REJECTED)


def accepted(validated: "DataFrame") -> "DataFrame":
    """The good records."""
    return validated.where("size(reasons) = 0")
