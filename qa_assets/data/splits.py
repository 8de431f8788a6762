"""Splits validated records into Parquet with Spark: by group, seeded, the same on any machine.

A part that the data itself names as valid or test is kept; else groups of train are held out.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.task import Task
from qa_assets.data import records
from qa_assets.data.config import DataConfig
from qa_assets.data.leakage import Leakage, leakage
from qa_assets.data.sources import TEST, TRAIN, VALID, part_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NAMES = (TRAIN, VALID, TEST)
COLUMNS = {
    "id": "Unique in its file.",
    "group": "The unit of splitting: one group is in one split only.",
    "inputs": "The fields of a request.",
    "references": "The distinct outputs that count as right; none: to abstain is right.",
    "extra": "What else the task keeps of a record.",
}
"""The columns of a split, and what each holds."""

_ROWS_PER_FILE = 65_536
_CANDIDATES, _MOST_CANDIDATES = 16, 128

logger = logging.getLogger(__name__)

Strata = Counter[str]
"""Examples by stratum, of a group or of a split."""


class SplitError(ValueError):
    """Data that cannot be split by these settings."""


@dataclass(frozen=True)
class SplitFacts:
    """Facts of a split.

    Attributes:
        name: of the split.
        examples: rows.
        answerable: rows that have a reference; in the others, to abstain is right.
        content_hash: SHA-256 over all rows; independent of their order and of the files.
    """

    name: str
    examples: int
    answerable: int
    content_hash: str


@dataclass(frozen=True)
class Splits:
    """Facts of the splits that were written.

    Attributes:
        task: fitted to train.
        splits: facts of each, in the order of `NAMES`.
        files: summary of each file's records, by name.
        leakage: by input field, what test shares with train.
    """

    task: Task
    splits: list[SplitFacts]
    files: dict[str, records.Summary]
    leakage: dict[str, Leakage]


def make_splits(
    spark: "SparkSession",
    task: Task,
    files: Iterable[Path],
    data: DataConfig,
    out: Mapping[str, Path],
    rejected: Path,
) -> Splits:
    """Validate the records of all files; write three splits, and the table of rejected records.

    The files are named as by `sources.fetch`; `out` has the path of each split by its name.

    Raises:
        SplitError: a file holds no good record, or train has too few groups to hold out
            `valid_examples`.
    """
    paths = {path.name: path for path in files}
    read = task.read(spark, list(paths.values()))
    summaries = records.summarise(read)
    for name, path in paths.items():
        summary = summaries[name]
        logger.info("%s: %s", name, summary)
        if summary.rejected == summary.records:
            raise SplitError(f"{path}: every record of it is bad: {summary.reasons}")
    _write(records.rejected(read).coalesce(1), rejected)
    good = records.with_parts(records.accepted(read), paths)
    task = task.fit(good.where(f"part = '{TRAIN}'"))
    groups: dict[str, dict[str, Strata]] = {}
    for part, group, stratum, count in good.groupBy("part", "group", "stratum").count().collect():
        groups.setdefault(part, {}).setdefault(group, Strata())[stratum] = count
    held_out: dict[str, str] = {}
    for name in (TEST, VALID):
        if name not in groups:  # the data has no such part
            chosen = hold_out(groups[TRAIN], data.valid_examples, data.seed)
            groups[name] = {group: groups[TRAIN].pop(group) for group in chosen}
            held_out |= dict.fromkeys(chosen, name)
    good = _moved(spark, good, held_out)
    limits = {TRAIN: data.train_examples, VALID: data.eval_examples, TEST: data.eval_examples}
    if VALID in held_out.values():
        limits[VALID] = min(data.valid_examples, data.eval_examples or data.valid_examples)
    for name in NAMES:
        total = sum(groups[name].values(), Strata())
        frame, count = _sample(good.where(f"part = '{name}'"), total, limits[name], data.seed)
        parts = -(-count // _ROWS_PER_FILE)
        # zstd compresses a long text that neighbouring rows share to the size of one copy
        text = f"inputs.{list(task.messages.inputs)[-1]}"
        rows = frame.select(*COLUMNS).repartition(parts, text).sortWithinPartitions(text, "id")
        _write(rows, out[name])
        logger.info("%s split: %d examples in %d files", name, count, parts)
    read.unpersist()
    written = {name: spark.read.parquet(str(out[name])) for name in NAMES}
    shared = leakage(written[TRAIN], written[TEST], list(task.messages.inputs))
    return Splits(task, _facts_of(written), summaries, shared)


def file_of(split: str, names: Iterable[str]) -> str:
    """The data file of a split."""
    by_part = {part_of(name): name for name in names}
    return by_part.get(split, by_part[TRAIN])


def _moved(spark: "SparkSession", good: "DataFrame", held_out: Mapping[str, str]) -> "DataFrame":
    """The records with `part` changed for groups of train that are held out."""
    from pyspark.sql import functions as sf

    if not held_out:
        return good
    moves = spark.createDataFrame(list(held_out.items()), "group string, moved string")
    is_moved = (sf.col("part") == TRAIN) & sf.col("moved").isNotNull()
    return good.join(sf.broadcast(moves), "group", "left").withColumn(
        "part", sf.when(is_moved, sf.col("moved")).otherwise(sf.col("part"))
    )


def hold_out(groups: Mapping[str, Strata], examples: int, seed: int) -> list[str]:
    """Choose groups that have at least so many examples together.

    Groups are drawn in a seeded order that does not depend on the machine; of the next ones, more
    of them where there are many strata, that group is taken which brings the shares of the strata
    nearest to those of all.

    Raises:
        SplitError: no group would be left.
    """
    total = sum(groups.values(), Strata())
    # the last share follows from the others
    shares = {stratum: total[stratum] / total.total() for stratum in sorted(total)[1:]}
    waiting = sorted(groups, key=lambda g: hashlib.sha256(f"{seed}:{g}".encode()).hexdigest())
    candidates = min(_CANDIDATES * max(1, len(shares)), _MOST_CANDIDATES)
    chosen: list[str] = []
    held = Strata()

    def imbalance(group: str) -> float:
        after = held + groups[group]
        return sum(abs(after[stratum] - share * after.total()) for stratum, share in shares.items())

    while held.total() < examples and waiting:
        best = min(waiting[:candidates], key=imbalance)
        waiting.remove(best)
        chosen.append(best)
        held += groups[best]
    if not waiting:
        raise SplitError(
            f"holding out {examples} examples leaves no group to train on ({len(groups)} groups,"
            f" {total.total()} examples): lower `data.valid_examples`"
        )
    return chosen


def _sample(
    frame: "DataFrame", total: Strata, limit: int | None, seed: int
) -> "tuple[DataFrame, int]":
    """At most `limit` rows, the same on any machine, that keep the shares of the strata."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sf

    if limit is None or limit >= total.total():
        return frame, total.total()
    counts: dict[str, int] = {}
    rows_left, limit_left = total.total(), limit
    for stratum in sorted(total, reverse=True):
        counts[stratum] = round(limit_left * total[stratum] / rows_left)
        rows_left, limit_left = rows_left - total[stratum], limit_left - counts[stratum]
    order = sf.sha2(sf.concat(sf.lit(f"{seed}:"), sf.col("id")), 256)
    limits = sf.create_map(*(sf.lit(item) for pair in counts.items() for item in pair))
    rank = sf.row_number().over(Window.partitionBy("stratum").orderBy(order))
    ranked = frame.withColumn("rank", rank)
    return ranked.where(sf.col("rank") <= limits[sf.col("stratum")]), limit


def _write(frame: "DataFrame", path: Path) -> None:
    frame.write.option("compression", "zstd").parquet(str(path), mode="overwrite")


def _facts_of(splits: "Mapping[str, DataFrame]") -> list[SplitFacts]:
    """The facts of each split, in the same order; none of them is empty.

    The rows of a split are hashed in 256 parts, by the first byte of a row's hash; the content hash
    is that of the parts' hashes.
    """
    from pyspark.sql import functions as sf

    frames = (frame.withColumn("split", sf.lit(name)) for name, frame in splits.items())
    rows = reduce(lambda left, right: left.unionAll(right), frames)
    # a control character separates the columns: validation rejects those in texts
    cells = [
        sf.col(name) if kind == "string" else sf.to_json(name)
        for name, kind in rows.dtypes
        if name != "split"
    ]
    parts = (
        rows.select("split", "references", sf.sha2(sf.concat_ws("\1", *cells), 256).alias("row"))
        .groupBy("split", sf.substring("row", 1, 2).alias("part"))
        .agg(
            sf.sha2(sf.concat_ws("", sf.sort_array(sf.collect_list("row"))), 256).alias("hash"),
            sf.count("*").alias("examples"),
            sf.count_if(sf.size("references") > 0).alias("answerable"),
        )
    )
    hashes = sf.sort_array(sf.collect_list(sf.struct("part", "hash")))["hash"]
    facts = parts.groupBy("split").agg(
        sf.sum("examples"), sf.sum("answerable"), sf.sha2(sf.concat_ws("", hashes), 256)
    )
    by_name = {row["split"]: SplitFacts(*row) for row in facts.collect()}
    return [by_name[name] for name in splits]
