"""Checked records to Parquet splits with Spark: whole groups, seeded, the same on any machine.

Where the data says what is valid and test, that is kept; else groups of train are held out.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.task import Task
from qa_assets.data import records
from qa_assets.data.config import DataConfig
from qa_assets.data.content import SplitFacts, facts_of
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
_CANDIDATES = 16

logger = logging.getLogger(__name__)


Strata = Counter[str]
"""Examples by stratum, of a group or of a split."""


class SplitError(ValueError):
    """Data that cannot be split as the settings ask."""


@dataclass(frozen=True)
class Splits:
    """What was made of the data files.

    Attributes:
        task: with what it learnt from train.
        splits: facts of each, in the order of `NAMES`.
        files: what validation found in each file, by name.
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
    """Check the records of all files; write the good ones as three splits, the bad ones apart.

    Args:
        spark: a running session.
        task: reads and checks the files.
        files: as `sources.fetch` named them.
        data: seed, sizes and limits.
        out: the directory of each split, by name.
        rejected: the directory of the rejected records.

    Raises:
        SplitError: a file holds no good record, or train has too few groups to hold out
            `valid_examples`.
    """
    paths = {path.name: path for path in files}
    read = task.read(spark, list(paths.values()))
    summaries = records.summarise(read)
    for name, path in paths.items():
        _require_good(path, summaries[name])
    _write(records.rejected(read).coalesce(1), rejected)
    good = records.with_parts(records.accepted(read), paths)
    task = task.fit(good.where(f"part = '{TRAIN}'"))
    groups = _groups(good)
    held_out: dict[str, str] = {}
    for name in (TEST, VALID):  # what the data does not tell apart comes from train
        if name not in groups:
            chosen = hold_out(groups[TRAIN], data.valid_examples, data.seed)
            groups[name] = {group: groups[TRAIN].pop(group) for group in chosen}
            held_out |= dict.fromkeys(chosen, name)
    good = _moved(spark, good, held_out)
    most = {
        TRAIN: data.train_examples,
        VALID: min(data.valid_examples, data.eval_examples or data.valid_examples),
        TEST: data.eval_examples,
    }
    for name in NAMES:
        total = sum(groups[name].values(), Strata())
        frame, count = _sample(good.where(f"part = '{name}'"), total, most[name], data.seed)
        number = -(-count // _ROWS_PER_FILE)
        # side by side, rows that share a long text take the room of one
        text = f"inputs.{list(task.messages.inputs)[-1]}"
        _write(
            frame.select(*COLUMNS).repartition(number, text).sortWithinPartitions(text, "id"),
            out[name],
        )
        logger.info("%s split: %d examples in %d files", name, count, number)
    read.unpersist()
    written = {name: spark.read.parquet(str(out[name])) for name in NAMES}
    shared = leakage(written[TRAIN], written[TEST], list(task.messages.inputs))
    return Splits(task, facts_of(written), summaries, shared)


def _require_good(path: Path, summary: records.Summary) -> None:
    logger.info(
        "%s: %d records, %d rejected%s, %d with a value put right",
        path.name, summary.records, summary.rejected,
        f" {summary.reasons}" if summary.reasons else "", summary.repaired,
    )  # fmt: skip
    if summary.rejected == summary.records:
        raise SplitError(f"{path}: every record is bad: {summary.reasons}")


def file_of(split: str, names: Iterable[str]) -> str:
    """The data file that a split was made of."""
    by_part = {part_of(name): name for name in names}
    return by_part.get(split, by_part[TRAIN])


def _groups(good: "DataFrame") -> dict[str, dict[str, Strata]]:
    """Examples of each group by stratum, by part."""
    groups: dict[str, dict[str, Strata]] = {}
    for part, group, stratum, count in good.groupBy("part", "group", "stratum").count().collect():
        groups.setdefault(part, {}).setdefault(group, Strata())[stratum] = count
    return groups


def _moved(spark: "SparkSession", good: "DataFrame", held_out: Mapping[str, str]) -> "DataFrame":
    """The records with groups of train in the part that they are held out for."""
    from pyspark.sql import functions as sf

    if not held_out:
        return good
    moves = spark.createDataFrame(list(held_out.items()), "group string, moved string")
    is_moved = (sf.col("part") == TRAIN) & sf.col("moved").isNotNull()
    return good.join(sf.broadcast(moves), "group", "left").withColumn(
        "part", sf.when(is_moved, sf.col("moved")).otherwise(sf.col("part"))
    )


def hold_out(groups: Mapping[str, Strata], examples: int, seed: int) -> list[str]:
    """Names of whole groups with at least so many examples in all.

    Groups come in a seeded order that does not depend on the machine; of the next few, that one is
    taken which brings the shares of the strata nearest to those of all.

    Raises:
        SplitError: no group would be left.
    """
    total = sum(groups.values(), Strata())
    # the shares of all strata but one say everything
    shares = {stratum: total[stratum] / total.total() for stratum in sorted(total)[1:]}
    waiting = sorted(groups, key=lambda group: _seeded(seed, group))
    chosen: list[str] = []
    have = Strata()
    while have.total() < examples and waiting:

        def excess(group: str, have: Strata = have) -> float:
            size = have.total() + groups[group].total()
            return sum(
                abs(have[stratum] + groups[group][stratum] - share * size)
                for stratum, share in shares.items()
            )

        best = min(waiting[:_CANDIDATES], key=excess)
        waiting.remove(best)
        chosen.append(best)
        have = have + groups[best]
    if not waiting:
        raise SplitError(
            f"holding out {examples} examples leaves no group to train on ({len(groups)} groups,"
            f" {total.total()} examples): lower `data.valid_examples`"
        )
    return chosen


def _seeded(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def _sample(
    frame: "DataFrame", total: Strata, limit: int | None, seed: int
) -> "tuple[DataFrame, int]":
    """At most `limit` rows with the same shares of the strata, the same on any machine."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sf

    if limit is None or limit >= total.total():
        return frame, total.total()
    counts: dict[str, int] = {}
    for stratum in sorted(total, reverse=True):  # each gets its share of what is left
        left = limit - sum(counts.values())
        of = sum(count for other, count in total.items() if other not in counts)
        counts[stratum] = round(left * total[stratum] / of)
    order = sf.sha2(sf.concat(sf.lit(f"{seed}:"), sf.col("id")), 256)
    most = sf.create_map(*(sf.lit(item) for pair in counts.items() for item in pair))
    place = sf.row_number().over(Window.partitionBy("stratum").orderBy(order))
    numbered = frame.withColumn("place", place)
    return numbered.where(sf.col("place") <= most[sf.col("stratum")]), limit


def _write(frame: "DataFrame", path: Path) -> None:
    frame.write.option("compression", "zstd").parquet(str(path), mode="overwrite")
