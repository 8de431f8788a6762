"""The splits on real Spark: whole articles, every question once, the same content every time."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from qa_assets.settings import DataSettings
from qa_assets.squad.splits import COLUMNS, NAMES, SplitError, make_splits
from qa_assets_tests.squad.test_source import write_squad

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_squad(tmp_path / "train.json", 20)
    write_squad(tmp_path / "dev.json", 4)
    return tmp_path


def split(spark: "SparkSession", raw: Path, name: str, **settings: object) -> dict[str, dict]:  # type: ignore[type-arg]
    data = DataSettings(**({"valid_questions": 6} | settings))
    out = {key: raw / name / key for key in NAMES}
    facts = make_splits(spark, raw, data, out)
    rows = {key: pq.read_table(out[key]).to_pylist() for key in NAMES}
    return {fact.name: {"facts": fact, "rows": rows[fact.name]} for fact in facts}


def test_every_question_lands_in_one_split(spark: "SparkSession", raw: Path) -> None:
    made = split(spark, raw, "a")
    ids = {name: {row["id"] for row in made[name]["rows"]} for name in ("train", "valid")}
    assert ids["train"] | ids["valid"] == {f"q{n}-{x}" for n in range(20) for x in "ab"}
    assert len(ids["train"]) + len(ids["valid"]) == 40
    titles = [{row["title"] for row in made[name]["rows"]} for name in ("train", "valid")]
    assert not titles[0] & titles[1]
    assert made["valid"]["facts"].questions == 6


def test_rows_hold_what_a_model_reads_and_says(spark: "SparkSession", raw: Path) -> None:
    row, other = split(spark, raw, "a")["test"]["rows"][:2]
    assert tuple(row) == COLUMNS
    assert row["source"] == f"question: {row['question']} context: {row['context']}"
    assert (row["target"], row["references"]) == ("Ouse", ["Ouse"])
    assert (other["target"], other["references"], other["answers"]) == ("unavailable", [], [])


def test_same_seed_same_content_other_seed_other_articles(spark: "SparkSession", raw: Path) -> None:
    first, again = split(spark, raw, "a"), split(spark, raw, "b")
    other = split(spark, raw, "c", seed=14)
    for name in NAMES:
        assert first[name]["facts"].content_hash == again[name]["facts"].content_hash
    assert first["valid"]["facts"].content_hash != other["valid"]["facts"].content_hash


def test_limits(spark: "SparkSession", raw: Path) -> None:
    made = split(spark, raw, "a", train_questions=7, eval_questions=3)
    assert {name: made[name]["facts"].questions for name in NAMES} == {
        "train": 7,
        "valid": 3,
        "test": 3,
    }


def test_holding_out_everything_is_refused(spark: "SparkSession", raw: Path) -> None:
    with pytest.raises(SplitError, match="QA_ASSETS_DATA_VALID_QUESTIONS"):
        split(spark, raw, "a", valid_questions=40)
