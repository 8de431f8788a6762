"""Files of labelled texts: their formats, and one clear error with the place for what is none."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qa_assets.core.task import SourceError
from qa_assets.tasks.classification.formats import inspect, labels_of, read
from qa_assets_tests.shared_data import CLINC150, requires_clinc150

CLINC = {
    "train": [["set an alarm", "alarm"], ["will it rain", "weather"]],
    "oos_test": [["hm", "oos"]],
}


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


GOOD = parquet(text=["set an alarm"], label=["alarm"])

KINDS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.tsv", b"", "is empty (0 bytes)"),
    "unknown_suffix": ("a.xml", b"<a/>", "is of no known format; expected label<TAB>text a line"),
    "empty_lines": ("a.tsv", b"\n \n", "holds no text"),
    "empty_json_lines": ("a.jsonl", b"\n \n", "holds no text"),
    "header_alone": ("a.csv", b"text,label\n", "holds no text"),
    "no_tab": ("a.txt", b"set an alarm\nwill it rain\n", "has no line of label<TAB>text"),
    "not_utf8": ("a.tsv", b"alarm\tset an al\xe4rm\n", "is not UTF-8"),
    "csv_not_utf8": ("a.csv", b"text,label\n\xff,a\n", "is not UTF-8"),
    "csv_without_column": ("a.csv", b"utterance,intent\na,b\n", "no column text, label"),
    "csv_of_semicolons": ("a.csv", b"text;label\na;b\n", "first line names text;label"),
    "csv_empty_first_line": ("a.csv", b"\n", "first line names none"),
    "csv_endless_cell": ("a.csv", b"text,label\n" + b"a" * 200_000 + b",b\n", "is not CSV: field"),
    "lines_of_prose": ("a.jsonl", b"set\nan alarm\n", "at line 1: Expecting value"),
    "lines_of_another_kind": ("a.ndjson", b'{"question": "x"}\n' * 2, "at line 1: no text"),
    "lines_that_are_no_objects": ("a.jsonl", b'["x", "y"]\n', "at line 1: no text"),
    "lines_not_utf8": ("a.jsonl", b'{"text": "\xff"}\n', "is not UTF-8"),
    "lines_too_deep": ("a.jsonl", b"[" * 200_000, "at line 1: maximum recursion"),
    "prose": ("a.json", b"set an alarm", "not JSON, or is cut off"),
    "cut_off": ("a.json", json.dumps(CLINC).encode()[:-20], "not JSON, or is cut off"),
    "json_not_utf8": ("a.json", b'{"train": [["\xff", "a"]]}', "is not UTF-8"),
    "deep": ("a.json", b'{"train": ' + b"[" * 200_000, "nested too deeply"),
    "a_list": ("a.json", b'[["a", "b"]]', "not CLINC150's JSON: no object"),
    "empty_object": ("a.json", b"{}", "an empty object"),
    "other_list": ("a.json", b'{"train": [], "validation": []}', "JSON: validation. Expected"),
    "list_no_list": ("a.json", b'{"train": {"a": "b"}}', "not CLINC150's JSON: train"),
    "empty_lists": ("a.json", b'{"train": [], "test": []}', "holds no text"),
    "parquet_cut_off": ("a.parquet", GOOD[:-40], "not Parquet, or is cut off"),
    "no_parquet": ("a.parquet", b"hello world", "begins with b'hell'"),
    "parquet_without_column": ("a.parquet", parquet(text=["a"], intent=[1]), "it has text, intent"),
    "parquet_of_numbers": ("a.parquet", parquet(text=[1], label=["a"]), "column text is int64"),
    "parquet_of_structs": (
        "a.parquet",
        parquet(text=["a"], label=[{"name": "b"}]),
        "column label is struct<name: string>, not string, integer or a list of such",
    ),
}


@pytest.mark.parametrize(("name", "content", "message"), KINDS.values(), ids=list(KINDS))
def test_broken_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(message)) as caught:
        inspect(path, "oos", None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tsv", tmp_path):
        with pytest.raises(SourceError, match=re.escape(str(path))):
            inspect(path, None, None)


def test_formats_are_told_by_content_and_suffix(tmp_path: Path) -> None:
    line = json.dumps({"text": "set an alarm", "label": "alarm"})
    texts = {
        "lines.tsv": "alarm\tset an alarm\n\noos\thm\n",
        "lines.txt": "alarm\tset an alarm\r\nno tab\r\n",
        "table.csv": '\ufefflabel,text\nalarm,"set, an\nalarm"\n',
        "lines.jsonl": f"{line}\nbroken\n",
        "one.json": line,
        "clinc.json": json.dumps(CLINC, indent=1),
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "table.json").write_bytes(GOOD)
    facts = {path.name: inspect(path, "oos", None) for path in tmp_path.iterdir()}
    assert {name: fact.format for name, fact in facts.items()} == {
        "lines.tsv": "tsv", "lines.txt": "tsv", "table.csv": "csv", "lines.jsonl": "jsonl",
        "one.json": "jsonl", "clinc.json": "json", "table.json": "parquet",
    }  # fmt: skip
    assert {name: fact.examples for name, fact in facts.items()} == {
        "lines.tsv": 2, "lines.txt": 2, "table.csv": 1, "lines.jsonl": 2, "one.json": 1,
        "clinc.json": 3, "table.json": 1,
    }  # fmt: skip
    assert facts["lines.tsv"].counts == {"labels": 2, "answerable": 1}
    assert facts["clinc.json"].counts == {"labels": 3, "answerable": 2}


def test_records_of_each_format_have_an_id_and_a_place(tmp_path: Path) -> None:
    files = {
        "a.tsv": "\nalarm\tset\tit\nno tab\n",
        "b.csv": "id,text,label\n7,set,alarm\n,rain,weather\n\nunquoted, comma,alarm,x\n",
        "c.jsonl": '{"id": 9, "text": "set", "labels": ["a", "b"]}\n[]\n',
        "d.json": json.dumps({"oos_val": [["hm", "oos"], "hm", ["a", "b", "c"]]}),
    }
    records = {}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        records[name] = [tuple(record) for record in read(tmp_path / name)]
    assert records == {
        "a.tsv": [
            ("line 2", None, "a-2", "set\tit", "alarm"), ("line 3", None, "a-3", None, "no tab"),
        ],
        "b.csv": [
            ("row 1", None, "7", "set", "alarm"), ("row 2", None, "b-2", "rain", "weather"),
            ("row 3", None, "b-3", None, None),
        ],
        "c.jsonl": [
            ("line 1", None, "9", "set", ["a", "b"]), ("line 2", None, "c-2", None, None),
        ],
        "d.json": [
            ("oos_val[0]", "valid", "oos_val-0", "hm", "oos"),
            ("oos_val[1]", "valid", "oos_val-1", None, None),
            ("oos_val[2]", "valid", "oos_val-2", None, None),
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "separator", "labels"),
    [
        ("alarm", None, ["alarm"]),
        (" alarm\u00a0", None, ["alarm"]),
        ("a|b", None, ["a|b"]),
        ("a| b|a|", "|", ["a", "b"]),
        ("", "|", []),
        (3, None, ["3"]),
        (True, None, ["true"]),
        (["a", 2], None, ["a", "2"]),
        (["a|b"], "|", ["a|b"]),
        (None, None, None),
        ({"name": "a"}, None, None),
        (["a", None], "|", None),
        ([["a"]], None, None),
    ],
)
def test_labels_of_a_field(label: Any, separator: str | None, labels: list[str] | None) -> None:
    assert labels_of(label, separator) == labels


@requires_clinc150
def test_clinc150_is_counted_as_published() -> None:
    facts = inspect(CLINC150, "oos", None)
    assert facts.examples == 15_000 + 3_000 + 4_500 + 100 + 100 + 1_000
    assert facts.counts == {"labels": 151, "answerable": 22_500}
    assert facts.sha256 == "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"
