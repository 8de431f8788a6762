"""SQuAD v2.0 JSON to Parquet splits with Spark: whole articles, seeded, each with a content hash.

The official dev file is the test split; articles of the train file are held out as valid.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.settings import DataSettings
from qa_assets.squad.prompts import source_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TRAIN, VALID, TEST = "train", "valid", "test"
NAMES = (TRAIN, VALID, TEST)
COLUMNS = (
    "id", "title", "question", "context", "answers", "is_impossible", "source", "target",
    "references",
)  # fmt: skip

_ANSWERS = "array<struct<text: string, answer_start: int>>"
_QUESTION = f"struct<id: string, question: string, answers: {_ANSWERS}, is_impossible: boolean>"
_PARAGRAPH = f"struct<context: string, qas: array<{_QUESTION}>>"
_JSON = f"data array<struct<title: string, paragraphs: array<{_PARAGRAPH}>>>"

_log = logging.getLogger(__name__)


class SplitError(ValueError):
    """Data that cannot be split as the settings ask."""


@dataclass(frozen=True)
class SplitFacts:
    """What one split holds; `content_hash` covers its sorted rows."""

    name: str
    path: Path
    questions: int
    answerable: int
    articles: int
    content_hash: str


def read_questions(spark: "SparkSession", path: Path, no_answer: str) -> "DataFrame":
    """One row a question of a SQuAD v2.0 file.

    Columns: `id, title, question, context, answers, is_impossible, source, target, references`,
    where `references` are the distinct answer texts and `target` is the first of them, or
    `no_answer`.
    """
    from pyspark.sql import functions as F  # noqa: N812

    return (
        spark.read.schema(_JSON)
        .option("multiLine", True)
        .option("mode", "FAILFAST")
        .json(str(path))
        .select(F.explode("data").alias("article"))
        .select("article.title", F.explode("article.paragraphs").alias("paragraph"))
        .select("title", "paragraph.context", F.explode("paragraph.qas").alias("qa"))
        .select(
            "qa.id",
            "title",
            "qa.question",
            "context",
            F.coalesce("qa.answers", F.array().cast(_ANSWERS)).alias("answers"),
            F.coalesce("qa.is_impossible", F.lit(False)).alias("is_impossible"),
            source_column(F.col("qa.question"), F.col("context")).alias("source"),
        )
        .withColumn("references", F.array_distinct(F.col("answers.text")))
        .withColumn("target", F.coalesce(F.col("references")[0], F.lit(no_answer)))
    )


def make_splits(
    spark: "SparkSession", raw: Path, settings: DataSettings, out: dict[str, Path]
) -> list[SplitFacts]:
    """Write the three splits of `raw/train.json` and `raw/dev.json` as Parquet.

    Args:
        spark: a running session.
        raw: the directory of both files.
        settings: seed, sizes and limits.
        out: the directory of each split, by name.

    Raises:
        SplitError: the train file has too few articles to hold out `valid_questions`.
    """
    from pyspark.sql import functions as F  # noqa: N812

    learn = read_questions(spark, raw / "train.json", settings.no_answer).persist()
    counts = {row["title"]: row["count"] for row in learn.groupBy("title").count().collect()}
    held_out = _held_out_articles(counts, settings)
    is_valid = F.col("title").isin(held_out)
    most_valid = min(settings.valid_questions, settings.eval_questions or settings.valid_questions)
    frames = {
        TRAIN: _sample(learn.where(~is_valid), settings.train_questions, settings.seed),
        VALID: _sample(learn.where(is_valid), most_valid, settings.seed),
        TEST: _sample(
            read_questions(spark, raw / "dev.json", settings.no_answer),
            settings.eval_questions,
            settings.seed,
        ),
    }
    facts = [_write(name, frames[name], out[name]) for name in NAMES]
    learn.unpersist()
    return facts


def _held_out_articles(counts: dict[str, int], settings: DataSettings) -> list[str]:
    """Articles in a seeded order that does not depend on the machine, until there are enough."""
    chosen, total = [], 0
    for title in sorted(counts, key=lambda title: _seeded(settings.seed, title)):
        if total >= settings.valid_questions:
            break
        chosen.append(title)
        total += counts[title]
    if len(chosen) == len(counts):
        raise SplitError(
            f"holding out {settings.valid_questions} questions leaves no article to train on"
            f" ({len(counts)} articles, {total} questions): lower QA_ASSETS_DATA_VALID_QUESTIONS"
        )
    return chosen


def _seeded(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def _sample(frame: "DataFrame", limit: int | None, seed: int) -> "DataFrame":
    """At most `limit` rows, the same ones on any machine."""
    from pyspark.sql import functions as F  # noqa: N812

    if limit is None:
        return frame
    order = F.sha2(F.concat(F.lit(f"{seed}:"), F.col("id")), 256)
    return frame.orderBy(order).limit(limit)


def _write(name: str, frame: "DataFrame", path: Path) -> SplitFacts:
    frame.select(*COLUMNS).coalesce(1).sortWithinPartitions("id").write.option(
        "compression", "zstd"
    ).parquet(str(path), mode="overwrite")
    facts = _facts(name, path)
    _log.info("%s split: %d questions of %d articles", name, facts.questions, facts.articles)
    return facts


def _facts(name: str, path: Path) -> SplitFacts:
    import pyarrow.parquet as pq

    table = pq.read_table(path).sort_by("id")
    impossible = table["is_impossible"].to_pylist()
    return SplitFacts(
        name,
        path,
        questions=table.num_rows,
        answerable=impossible.count(False),
        articles=len(set(table["title"].to_pylist())),
        content_hash=_content_hash(repr(row) for row in table.to_pylist()),
    )


def _content_hash(rows: Iterable[str]) -> str:
    total = hashlib.sha256()
    for row in rows:
        total.update(row.encode())
    return total.hexdigest()
