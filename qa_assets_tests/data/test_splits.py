"""The splits on real Spark: whole articles, every question once, the same content every time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from qa_assets.core.examples import Example
from qa_assets.data.config import DataConfig
from qa_assets.data.splits import COLUMNS, NAMES, SplitError, Splits, Strata, hold_out, make_splits
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets_tests.data.test_sources import article, write_squad

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


TASK = QuestionAnswering()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_squad(tmp_path / "train.json", 20)
    write_squad(tmp_path / "dev.json", 4)
    return tmp_path


def split(
    spark: "SparkSession",
    raw: Path,
    name: str,
    task: QuestionAnswering = TASK,
    **settings: Any,
) -> tuple[Splits, dict[str, list[dict[str, Any]]]]:
    data = DataConfig(**({"valid_examples": 6} | settings))
    out = {key: raw / name / key for key in NAMES}
    files = [raw / "train.json", raw / "dev.json"]
    made = make_splits(spark, task, files, data, out, raw / name / "rejected")
    return made, {key: pq.read_table(out[key]).to_pylist() for key in NAMES}


def test_every_question_lands_in_one_split(spark: "SparkSession", raw: Path) -> None:
    made, rows = split(spark, raw, "a")
    ids = {name: {row["id"] for row in rows[name]} for name in NAMES}
    assert ids["train"] | ids["valid"] == {f"q{n}-{x}" for n in range(20) for x in "ab"}
    assert {name: len(rows[name]) for name in NAMES} == {"train": 34, "valid": 6, "test": 8}
    groups = [{row["group"] for row in rows[name]} for name in ("train", "valid")]
    assert not groups[0] & groups[1]

    by_id = {row["id"]: row for row in rows["test"]}
    row, other = by_id["q0-a"], by_id["q0-b"]
    assert tuple(row) == tuple(COLUMNS)
    (prompt,) = TASK.prompts(Example(**row))
    inputs = row["inputs"]
    assert prompt.source == f"question: {inputs['question']} context: {inputs['context']}"
    assert (prompt.targets, row["references"]) == (("Ouse",), ["Ouse"])
    (prompt,) = TASK.prompts(Example(**other))
    assert (prompt.targets, other["references"]) == (("unavailable",), [])
    assert other["extra"] == {"answers": []}

    facts = {one.name: one for one in made.splits}["test"]
    assert (facts.examples, facts.answerable) == (8, 4)
    # test is the beginning of train
    shared = made.leakage["question"]
    assert (shared.texts, shared.same) == (8, len(ids["train"] & ids["test"]))


@pytest.fixture
def cores(spark: "SparkSession") -> Iterator[Any]:
    """Sets how many tasks Spark cuts its work into; the session's own number comes back."""
    name = "spark.sql.shuffle.partitions"
    before = spark.conf.get(name)
    yield lambda number: spark.conf.set(name, number)
    spark.conf.set(name, before)


def test_content_does_not_depend_on_partitions_or_on_the_order_of_the_file(
    spark: "SparkSession", raw: Path, cores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark import SparkContext

    hashes, files = {}, {}
    for number in (1, 2, 4):
        cores(number)
        monkeypatch.setattr(SparkContext, "defaultParallelism", number)
        made, _ = split(spark, raw, str(number), eval_examples=4)
        hashes[number] = [one.content_hash for one in made.splits]
        files[number] = [
            path.read_bytes()
            for name in NAMES
            for path in sorted((raw / str(number) / name).glob("*.parquet"))
        ]
    monkeypatch.undo()
    assert hashes[1] == hashes[2] == hashes[4]
    assert files[1] == files[2] == files[4]
    content = [article(n) for n in reversed(range(20))]
    (raw / "train.json").write_text(json.dumps({"data": content}))
    turned, _ = split(spark, raw, "turned", eval_examples=4)
    assert [one.content_hash for one in turned.splits] == hashes[1]


def test_limits_keep_the_share_and_files_are_zstd_with_statistics(
    spark: "SparkSession", raw: Path
) -> None:
    made, rows = split(spark, raw, "a", train_examples=8, eval_examples=4)
    assert [(one.examples, one.answerable) for one in made.splits] == [(8, 4), (4, 2), (4, 2)]
    (file,) = (raw / "a" / "train").glob("*.parquet")
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    assert (column.path_in_schema, column.compression) == ("id", "ZSTD")
    assert column.statistics.min == min(row["id"] for row in rows["train"])


def test_bad_records_go_to_their_table_and_duplicates_across_splits_are_counted(
    spark: "SparkSession", raw: Path
) -> None:
    content = json.loads((raw / "train.json").read_text())
    qas = content["data"][3]["paragraphs"][0]["qas"]
    qas[0]["question"] = " "
    qas[1]["id"] = "q7-a"
    (raw / "train.json").write_text(json.dumps(content))
    twin = article(50)
    # the same but for case and marks, and the same words in another order
    twin["paragraphs"][0]["qas"][0]["question"] = "on which river, lies Town 12"
    twin["paragraphs"][0]["qas"][1]["question"] = "Town 12: rules who?"
    (raw / "dev.json").write_text(json.dumps({"data": [twin]}))
    made, _ = split(spark, raw, "a")
    rejected = pq.read_table(raw / "a" / "rejected").to_pylist()
    assert [(row["file"], row["place"], row["reasons"]) for row in rejected] == [
        ("train.json", "data[3].paragraphs[0].qas[0]", ["question_blank"]),
        ("train.json", "data[7].paragraphs[0].qas[0]", ["duplicate_id"]),
    ]
    assert made.files["train.json"].records == 40
    assert sum(one.examples for one in made.splits[:2]) == 38
    questions, contexts = made.leakage["question"], made.leakage["context"]
    assert (questions.same, questions.near) == (1, 1)
    assert (contexts.texts, contexts.same) == (1, 0)


def test_holding_out_everything_or_nothing_good_is_refused(
    spark: "SparkSession", raw: Path
) -> None:
    with pytest.raises(SplitError, match="lower `data.valid_examples`"):
        split(spark, raw, "a", valid_examples=40)
    with pytest.raises(SplitError, match=r"every record .* is bad.*context_too_long"):
        split(spark, raw, "b", QuestionAnswering(max_context_chars=5))


@pytest.mark.parametrize("seed", range(20))
def test_share_of_unanswerable_is_train_s_by_selection(seed: int) -> None:
    """Articles that are answerable throughout or not at all, as far apart as can be."""
    articles = {
        f"{n:03d}": Strata({"unanswerable" if n % 3 == 0 else "answerable": 40 + n % 7})
        for n in range(200)
    }
    chosen = hold_out(articles, 1000, seed)
    assert chosen != hold_out(articles, 1000, seed + 1)
    valid = [articles[title] for title in chosen]
    train = [count for title, count in articles.items() if title not in chosen]
    shares = [
        sum(count["unanswerable"] for count in part) / sum(count.total() for count in part)
        for part in (valid, train)
    ]
    assert sum(count.total() for count in valid) >= 1000
    assert abs(shares[0] - shares[1]) < 0.01 + 47 / 1000 / 2


@pytest.mark.parametrize("seed", range(20))
def test_a_held_out_part_has_the_share_of_each_label(seed: int) -> None:
    """Each text is a group of its own; nine labels of different shares."""
    sizes = {f"label {number}": 40 + 15 * number for number in range(9)}
    texts = {f"{name}: {n}": Strata([name]) for name, size in sizes.items() for n in range(size)}
    held = sum((texts[text] for text in hold_out(texts, 150, seed)), Strata())
    for name, size in sizes.items():
        assert held[name] == pytest.approx(150 * size / len(texts), abs=1.5)
