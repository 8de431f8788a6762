"""Every kind of bad record in every format, on real Spark; the good ones go through."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qa_assets.core.task import SourceError
from qa_assets.data import records
from qa_assets.tasks.classification import Classification
from qa_assets_tests.shared_data import CLINC150, requires_clinc150

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Rows = dict[str, dict[str, Any]]
TASK = Classification(out_of_scope="oos", max_chars=40)
SEVERAL = Classification(multi_label=True, max_chars=40)

# a line of JSON Lines, and the reasons that come out
LINES: dict[str, tuple[Any, list[str]]] = {
    "good": ({"text": "set an alarm", "label": "alarm"}, []),
    "good_number": ({"text": "will it rain", "label": 3}, []),
    "good_list": ({"text": "is it cold", "labels": ["weather"]}, []),
    "good_labels_as_text": ({"text": "wake me", "labels": "alarm"}, []),
    "good_out_of_scope": ({"text": "why is the moon old", "label": "oos"}, []),
    "good_tab_and_line_end": ({"text": "set\tan\nalarm at 8", "label": "alarm"}, []),
    "good_other_field": ({"text": "wake me up", "label": "alarm", "text2": 5}, []),
    "number": (7, ["malformed"]),
    "list": (["alarm", "wake me"], ["malformed"]),
    "text_missing": ({"label": "alarm"}, ["text_missing"]),
    "text_null": ({"text": None, "label": "alarm"}, ["text_missing"]),
    "text_number": ({"text": 5, "label": "alarm"}, ["text_not_text"]),
    "text_object": ({"text": {"en": "wake me"}, "label": "alarm"}, ["text_not_text"]),
    "text_list": ({"text": ["wake me"], "label": "alarm"}, ["text_not_text"]),
    "text_empty": ({"text": "", "label": "alarm"}, ["text_blank"]),
    "text_blank": ({"text": " \u00a0\u3000", "label": "alarm"}, ["text_blank"]),
    "text_long": ({"text": "wake me " * 9, "label": "alarm"}, ["text_too_long"]),
    "text_control": ({"text": "wake\u0007 me", "label": "alarm"}, ["control_characters"]),
    "label_control": ({"text": "wake me", "label": "al\u0000arm"}, ["control_characters"]),
    "label_missing": ({"text": "wake me"}, ["label_missing"]),
    "label_null": ({"text": "wake me", "label": None}, ["label_missing"]),
    "label_blank": ({"text": "wake me", "label": " "}, ["label_missing"]),
    "label_object": ({"text": "wake me", "label": {"name": "alarm"}}, ["label_missing"]),
    "labels_empty": ({"text": "wake me", "labels": []}, ["label_missing"]),
    "labels_with_null": ({"text": "wake me", "labels": ["alarm", None]}, ["label_missing"]),
    "several_labels": ({"text": "wake me", "labels": ["alarm", "weather"]}, ["several_labels"]),
    "two_faults": ({"text": " "}, ["text_blank", "label_missing"]),
    "id_again": ({"id": "id-good", "text": "wake us", "label": "alarm"}, ["duplicate_id"]),
}


def read(
    spark: "SparkSession", task: Classification, *paths: Path
) -> tuple[Rows, dict[str, records.Summary]]:
    """Rows by place, or by file and place where there are several files; and the summaries."""
    frame = task.read(spark, paths)
    rows = [row.asDict(recursive=True) for row in frame.collect()]
    summaries = records.summarise(frame)
    frame.unpersist()
    by_file = len(paths) > 1
    return (
        {f"{row['file']} {row['place']}" if by_file else row["place"]: row for row in rows},
        summaries,
    )


def reasons(rows: Rows) -> dict[str, Sequence[str]]:
    return {place: row["reasons"] for place, row in rows.items() if row["reasons"]}


@pytest.fixture(scope="module")
def lines(
    spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory
) -> tuple[Rows, dict[str, records.Summary]]:
    """All kinds in one file, validated once; each has its own id where it can."""
    path = tmp_path_factory.mktemp("kinds") / "train.jsonl"
    written = [
        json.dumps({"id": f"id-{name}"} | row if isinstance(row, dict) else row)
        for name, (row, _) in LINES.items()
    ]
    path.write_text("\n".join([*written, '{"text": "cut o']))
    return read(spark, TASK, path)


@pytest.mark.parametrize("name", LINES)
def test_kind_of_record(lines: tuple[Rows, dict[str, records.Summary]], name: str) -> None:
    row = lines[0][f"line {list(LINES).index(name) + 1}"]
    assert row["reasons"] == LINES[name][1]
    assert bool(row["record"]) == bool(LINES[name][1])


def test_every_record_is_counted(lines: tuple[Rows, dict[str, records.Summary]]) -> None:
    rows, summaries = lines
    summary = summaries["train.jsonl"]
    assert summary.records == len(rows) == len(LINES) + 1
    assert summary.rejected == sum(bool(expected) for _, expected in LINES.values()) + 1
    assert rows[f"line {len(LINES) + 1}"]["reasons"] == ["malformed"]
    assert rows[f"line {len(LINES) + 1}"]["record"] == '{"text": "cut o'


def test_columns_of_good_records(lines: tuple[Rows, dict[str, records.Summary]]) -> None:
    rows = lines[0]
    good = rows["line 1"]
    assert sorted(good) == sorted(records.COLUMNS)
    assert (good["id"], good["group"], good["inputs"]) == (
        "id-good", "set an alarm", {"text": "set an alarm"},
    )  # fmt: skip
    assert (good["references"], good["stratum"], good["part"]) == (["alarm"], "alarm", "train")
    assert rows["line 2"]["references"] == ["3"]
    assert (rows["line 5"]["references"], rows["line 5"]["stratum"]) == ([], "oos")
    assert rows["line 6"]["group"] == "set an alarm at 8"


def test_splits_are_compared(spark: "SparkSession", tmp_path: Path) -> None:
    """Test keeps a text that valid and train have as well; labels are those left in train."""
    (tmp_path / "train.tsv").write_text(
        "alarm\tSet  an alarm\nalarm\twake me\nweather\twill it rain\nonly_leaked\tplay jazz\n"
        "weather\tis it cold\nweather\tis it cold\n"
    )
    (tmp_path / "valid.tsv").write_text(
        "weather\tWILL IT RAIN\nnew\tcall anna\nalarm\tset an alarm\n"
    )
    (tmp_path / "dev.tsv").write_text(
        "alarm\tset an alarm\nonly_leaked\tplay jazz\n"
        "new\twill it rain, then\noos\twhat is a sonata\n"
    )
    paths = [tmp_path / f"{name}.tsv" for name in ("train", "valid", "dev")]
    rows, _ = read(spark, TASK, *paths)
    assert reasons(rows) == {
        "train.tsv line 1": ["in_another_split"],
        "train.tsv line 3": ["in_another_split"],
        "train.tsv line 4": ["in_another_split"],
        "valid.tsv line 2": ["label_not_in_train"],
        "valid.tsv line 3": ["in_another_split"],
        "dev.tsv line 2": ["label_not_in_train"],
        "dev.tsv line 3": ["label_not_in_train"],
    }
    assert rows["train.tsv line 1"]["record"] == "alarm\tSet  an alarm"
    assert {row["part"] for row in rows.values()} == {"train", "valid", "test"}


def test_tsv(spark: "SparkSession", tmp_path: Path) -> None:
    (tmp_path / "all.tsv").write_bytes(
        b"\xef\xbb\xbfalarm\tset\tan alarm\r\n\n weather \twill it rain\r\nno tab\n\tno label\n"
        b"alarm\t\nalarm\tset an alarm, please\n"
    )
    rows, summaries = read(spark, TASK, tmp_path / "all.tsv")
    assert reasons(rows) == {
        "line 4": ["malformed"], "line 5": ["label_missing"], "line 6": ["text_blank"],
    }  # fmt: skip
    assert rows["line 1"]["inputs"] == {"text": "set\tan alarm"}
    assert rows["line 1"]["references"] == ["alarm"]
    assert (rows["line 3"]["references"], rows["line 3"]["id"]) == (["weather"], "all-3")
    assert summaries["all.tsv"].repaired == 1


def test_csv(spark: "SparkSession", tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(
        '\ufeffid,label,text,note\na,alarm,"set an\nalarm, ""now""",x\n,weather,will it rain,\n\n'
        "b,alarm,unquoted, comma,x\nc,alarm\nd,,wake me,x\ne,alarm,,x\n"
    )
    rows, _ = read(spark, TASK, tmp_path / "all.csv")
    assert reasons(rows) == {
        "row 3": ["malformed"], "row 4": ["malformed"], "row 5": ["label_missing"],
        "row 6": ["text_missing"],
    }  # fmt: skip
    assert rows["row 1"]["inputs"] == {"text": 'set an\nalarm, "now"'}
    assert [rows[f"row {n}"]["id"] for n in (1, 2)] == ["a", "all-2"]
    assert rows["row 3"]["record"] == "b,alarm,unquoted, comma,x"
    assert json.loads(rows["row 5"]["record"]) == {"id": "d", "text": "wake me", "note": "x"}


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["alarm", None, "weather"]),
        pa.array(["alarm", None, "weather"]).dictionary_encode(),
        pa.array([["alarm"], None, ["weather"]]),
        pa.array([["alarm"], [None], ["weather"]]),
    ],
    ids=["text", "dictionary", "lists", "list_of_null"],
)
def test_parquet(spark: "SparkSession", tmp_path: Path, labels: pa.Array) -> None:
    path = tmp_path / "all.parquet"
    pq.write_table(pa.table({"text": ["set an alarm", "wake me", None], "label": labels}), path)
    rows, _ = read(spark, TASK, path)
    assert reasons(rows) == {"row 2": ["label_missing"], "row 3": ["text_missing"]}
    assert (rows["row 1"]["references"], rows["row 1"]["id"]) == (["alarm"], "all-1")


def test_parquet_of_numbers(spark: "SparkSession", tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    pq.write_table(pa.table({"id": [4, 5], "text": ["a", "b"], "labels": [[0], [1, 2]]}), path)
    rows, _ = read(spark, SEVERAL, path)
    assert [(row["id"], row["references"]) for row in rows.values()] == [
        ("4", ["0"]), ("5", ["1", "2"]),
    ]  # fmt: skip


def test_clinc_json(spark: "SparkSession", tmp_path: Path) -> None:
    content = {
        "oos_train": [["hm", "oos"]],
        "train": [["set an alarm", "alarm"], ["wake me"], "x", ["a", "b", "c"], None, [5, "alarm"]],
        "test": [["will it rain", "weather"], ["wake us", None], ["wake him", {"a": "b"}]],
        "oos_test": [["SET an alarm ", "oos"]],
    }
    (tmp_path / "all.json").write_text(json.dumps(content, indent=1))
    rows, _ = read(spark, TASK, tmp_path / "all.json")
    assert reasons(rows) == {
        "train[0]": ["in_another_split"],
        **{f"train[{n}]": ["malformed"] for n in (1, 2, 3, 4)},
        "train[5]": ["text_not_text"],
        "test[0]": ["label_not_in_train"],
        "test[1]": ["label_missing"],
        "test[2]": ["label_missing"],
    }
    assert rows["oos_train[0]"]["id"] == "oos_train-0"
    assert rows["oos_test[0]"]["part"] == "test"


def test_several_labels(spark: "SparkSession", tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a| b|a\tboth\n\tnone\na\tone\n")
    (tmp_path / "dev.jsonl").write_text(
        "\n".join(
            json.dumps(row)
            for row in (
                {"text": "list", "labels": ["b", "a"]}, {"text": "nothing", "labels": []},
                {"text": "text", "label": "a|b"}, {"text": "new one", "labels": ["a", "c"]},
                {"text": "separator", "labels": ["a|b"]}, {"text": "unknown"},
            )
        )
    )  # fmt: skip
    rows, _ = read(spark, SEVERAL, tmp_path / "train.tsv", tmp_path / "dev.jsonl")
    assert reasons(rows) == {
        "dev.jsonl line 4": ["label_not_in_train"],
        "dev.jsonl line 5": ["label_with_separator"],
        "dev.jsonl line 6": ["label_missing"],
    }
    good = {place: row["references"] for place, row in rows.items() if not row["reasons"]}
    assert [good[place] for place in sorted(good)] == [
        ["b", "a"], [], ["a", "b"], ["a", "b"], [], ["a"],
    ]  # fmt: skip


def test_labels_are_learnt_from_train(spark: "SparkSession", tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("weather\twill it rain\noos\thm\nalarm\twake me\nZoo\tshow the lions\n")
    frame = TASK.read(spark, [path])
    assert TASK.fit(frame).label_names == ("Zoo", "alarm", "weather", "oos")
    assert Classification().fit(frame.where("size(references) > 0")).label_names == (
        "Zoo", "alarm", "weather",
    )  # fmt: skip
    faults = {
        "no good record of train has the label 'none', which the task's out_of_scope names: the "
        "labels of train are Zoo, alarm": (
            Classification(out_of_scope="none"), "size(references) > 0",
        ),
        "there is nothing to tell apart: the labels of train are alarm": (
            Classification(), "stratum = 'alarm'",
        ),
        "the labels of train are none": (Classification(), "false"),
        "'alarm' is a label of train: set the task's abstention_word": (
            Classification(model="seq2seq", out_of_scope="oos", abstention_word="alarm"), "true",
        ),
    }  # fmt: skip
    for message, (task, condition) in faults.items():
        with pytest.raises(SourceError, match=message):
            task.fit(frame.where(condition))
    frame.unpersist()


def test_reasons_are_all_tested() -> None:
    tested = {reason for _, expected in LINES.values() for reason in expected}
    elsewhere = {"label_not_in_train", "in_another_split", "label_with_separator"}
    assert tested | elsewhere == set(TASK.raw.reasons)


@requires_clinc150
def test_clinc150(spark: "SparkSession") -> None:
    """All records are good but the few of train whose texts stand in valid or test as well."""
    frame = TASK.model_copy(update={"max_chars": 6000}).read(spark, [CLINC150])
    good = records.accepted(frame).groupBy("part", "stratum").count().collect()
    (summary,) = records.summarise(frame).values()
    frame.unpersist()
    counts = {(row["part"], row["stratum"]): row["count"] for row in good}
    assert (summary.records, summary.rejected) == (23_700, 5)
    assert summary.reasons == {"in_another_split": 5}
    outside = [counts[part, "oos"] for part in ("train", "valid", "test")]
    assert outside == [100, 100, 1000]
    inside = [
        sum(count for (of, label), count in counts.items() if of == part and label != "oos")
        for part in ("train", "valid", "test")
    ]
    assert inside == [15_000 - 5, 3000, 4500]
    assert len({label for _, label in counts}) == 151
