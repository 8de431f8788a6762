"""Validated records to Parquet splits with Spark: whole articles, seeded, the same on any machine.

The dev file is the test split; articles of the train file are held out as valid.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.data.content import SplitFacts, profile
from qa_assets.data.leakage import Overlap, overlap
from qa_assets.settings import DataSettings
from qa_assets.tasks.question_answering import validation
from qa_assets.tasks.question_answering.prompts import source_column

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TRAIN, VALID, TEST = "train", "valid", "test"
NAMES = (TRAIN, VALID, TEST)
COLUMNS = {
    "id": "Unique in its file.",
    "title": "The article. One article is in one split only.",
    "question": "What is asked.",
    "context": "The text in which the answer is looked for.",
    "answers": "Texts and where they begin in the context, in characters; none: unanswerable.",
    "is_impossible": "Whether the context does not hold the answer.",
    "source": "What the model reads: question and context.",
    "target": "What it should say: the first answer, or the text that stands for none.",
    "references": "The distinct answers that count as right.",
}
"""The columns of a split, and what each holds."""

_ROWS_PER_FILE = 65_536
_CANDIDATES = 16

_log = logging.getLogger(__name__)


class SplitError(ValueError):
    """Data that cannot be split as the settings ask."""


@dataclass(frozen=True)
class Splits:
    """What was made of the two files: each split, each file's validation, what train shares."""

    splits: list[SplitFacts]
    files: dict[str, validation.Summary]
    shared: Overlap


@dataclass(frozen=True)
class Count:
    """Questions of an article, or of a split."""

    questions: int
    unanswerable: int


def make_splits(
    spark: "SparkSession",
    files: Mapping[str, Path],
    settings: DataSettings,
    out: Mapping[str, Path],
    rejected: Path,
) -> Splits:
    """Check the records of both files and write the good ones as three splits, the bad ones apart.

    Args:
        spark: a running session.
        files: the data files, under `train` and `test`.
        settings: seed, sizes and limits.
        out: the directory of each split, by name.
        rejected: the directory of the rejected records.

    Raises:
        SplitError: a file holds no good record, or the train file has too few articles to hold out
            `valid_questions`.
    """
    from pyspark.sql import functions as F  # noqa: N812

    records = validation.read_validated(spark, files.values(), settings)
    summaries = validation.summarise(records)
    for name, path in files.items():
        summary = summaries[path.name]
        _log.info(
            "%s: %d records, %d rejected %s, %d with an offset put right",
            path.name, summary.records, summary.rejected, summary.reasons or "", summary.repaired,
        )  # fmt: skip
        if summary.rejected == summary.records:
            raise SplitError(f"{path}: every record of {name} is bad: {summary.reasons}")
    _write(validation.rejected(records).coalesce(1), rejected)
    good = _rows(validation.accepted(records), settings.no_answer)
    learn, test = (good.where(F.col("file") == files[name].name) for name in (TRAIN, TEST))
    by_file = _articles(good)
    articles = by_file[files[TRAIN].name]
    held_out = hold_out(articles, settings.valid_questions, settings.seed)
    is_valid = F.col("title").isin(held_out)
    counts = {
        TRAIN: _total(count for title, count in articles.items() if title not in held_out),
        VALID: _total(articles[title] for title in held_out),
        TEST: _total(by_file[files[TEST].name].values()),
    }
    most = {
        TRAIN: settings.train_questions,
        VALID: min(settings.valid_questions, settings.eval_questions or settings.valid_questions),
        TEST: settings.eval_questions,
    }
    frames = {TRAIN: learn.where(~is_valid), VALID: learn.where(is_valid), TEST: test}
    for name in NAMES:
        frame, total = _sample(frames[name], counts[name], most[name], settings.seed)
        number = -(-total // _ROWS_PER_FILE)
        _write(
            frame.select(*COLUMNS)
            .repartition(number, "context")
            .sortWithinPartitions("context", "id"),
            out[name],
        )
        _log.info("%s split: %d questions in %d files", name, total, number)
    records.unpersist()
    written = {name: spark.read.parquet(str(out[name])) for name in NAMES}
    return Splits(profile(written), summaries, overlap(written[TRAIN], written[TEST]))


def _rows(records: "DataFrame", no_answer: str) -> "DataFrame":
    """Records with the columns of a split, and `file`."""
    from pyspark.sql import functions as F  # noqa: N812

    return (
        records.withColumn("source", source_column(F.col("question"), F.col("context")))
        .withColumn("references", F.array_distinct("answers.text"))
        .withColumn("target", F.coalesce(F.get("references", F.lit(0)), F.lit(no_answer)))
        .select("file", *COLUMNS)
    )


def _articles(rows: "DataFrame") -> dict[str, dict[str, Count]]:
    """Questions of each article, by file."""
    counts = rows.groupBy("file", "title").agg({"*": "count", "is_impossible": "count_if"})
    found: dict[str, dict[str, Count]] = {}
    for file, title, questions, unanswerable in counts.collect():
        found.setdefault(file, {})[title] = Count(questions, unanswerable)
    return found


def _total(counts: Iterable[Count]) -> Count:
    items = list(counts)
    return Count(sum(one.questions for one in items), sum(one.unanswerable for one in items))


def hold_out(articles: Mapping[str, Count], questions: int, seed: int) -> list[str]:
    """Titles of whole articles with at least so many questions in all.

    Articles come in a seeded order that does not depend on the machine; of the next few, that one
    is taken which brings the share of unanswerable questions nearest to the share of all.

    Raises:
        SplitError: no article would be left.
    """
    total = _total(articles.values())
    share = total.unanswerable / max(1, total.questions)
    waiting = sorted(articles, key=lambda title: _seeded(seed, title))
    chosen: list[str] = []
    have = Count(0, 0)
    while have.questions < questions and waiting:

        def excess(title: str, have: Count = have) -> float:
            more = articles[title]
            return abs(
                have.unanswerable + more.unanswerable - share * (have.questions + more.questions)
            )

        best = min(waiting[:_CANDIDATES], key=excess)
        waiting.remove(best)
        chosen.append(best)
        have = _total([have, articles[best]])
    if not waiting:
        raise SplitError(
            f"holding out {questions} questions leaves no article to train on ({len(articles)}"
            f" articles, {total.questions} questions): lower QA_ASSETS_DATA_VALID_QUESTIONS"
        )
    return chosen


def _seeded(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def _sample(
    frame: "DataFrame", total: Count, limit: int | None, seed: int
) -> "tuple[DataFrame, int]":
    """At most `limit` rows with the same share of unanswerable ones, the same on any machine."""
    from pyspark.sql import functions as F  # noqa: N812

    if limit is None or limit >= total.questions:
        return frame, total.questions
    order = F.sha2(F.concat(F.lit(f"{seed}:"), F.col("id")), 256)
    unanswerable = round(limit * total.unanswerable / total.questions)
    parts = [
        frame.where(which).orderBy(order).limit(count)
        for which, count in (
            (F.col("is_impossible"), unanswerable),
            (~F.col("is_impossible"), limit - unanswerable),
        )
    ]
    return parts[0].unionAll(parts[1]), limit


def _write(frame: "DataFrame", path: Path) -> None:
    frame.write.option("compression", "zstd").parquet(str(path), mode="overwrite")
