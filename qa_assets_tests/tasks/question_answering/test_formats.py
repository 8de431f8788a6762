"""Files that are no data files: one clear error, with the file, the place and what was expected."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qa_assets.core.task import SourceError
from qa_assets.tasks.question_answering.formats import inspect
from qa_assets_tests.data.test_sources import article, write_squad

ROW = {"id": "1", "question": "Who?", "context": "Rollo.", "answers": []}
WHOLE = json.dumps({"data": [article(0)]}).encode()


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


GOOD = parquet(
    id=["1"], question=["q"], context=["c"], answers=[[{"text": "c", "answer_start": 0}]]
)

KINDS: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.json", b"", "is empty (0 bytes)"),
    "empty_lines": ("a.jsonl", b"\n \n", "holds no question"),
    "prose": (
        "a.json",
        b"Rollo led the Norse.",
        "not JSON, or is cut off: Expecting value: line 1",
    ),
    "cut_off": ("a.json", WHOLE[:-30], "cut off"),
    "cut_off_in_a_line": ("a.json", b'{"data": [\n{"title": "a",\n', "line 3 column 1"),
    "not_utf8": ("a.json", b'{"data": "\xff\xfe\x00"}', "not JSON, or is cut off"),
    "two_documents": ("a.json", WHOLE + WHOLE, "Extra data"),
    "other_object": ("a.json", b'{"rows": []}', "not SQuAD at data"),
    "a_list": ("a.json", b'[{"data": []}]', "not SQuAD at data"),
    "data_no_list": ("a.json", b'{"data": {"a": 1}}', "not SQuAD at data"),
    "no_article": ("a.json", b'{"data": []}', "holds no question"),
    "articles_of_another_kind": ("a.json", b'{"data": [{"text": "x"}, 5]}', "at data[0]"),
    "deep": ("a.json", b'{"data": ' + b"[" * 200_000, "nested too deeply"),
    "lines_of_prose": ("a.jsonl", b"Rollo\nled\n", "at line 1"),
    "lines_of_another_kind": ("a.jsonl", b'{"id": "1", "text": "x"}\n' * 3, "no question, context"),
    "lines_by_content": ("a.json", b'{"id": "1", "text": "x"}\n' * 3, "no question, context"),
    "parquet_cut_off": ("a.parquet", GOOD[:-40], "not Parquet, or is cut off"),
    "no_parquet": ("a.parquet", b"hello world", "begins with b'hell'"),
    "parquet_without_column": ("a.parquet", parquet(id=["1"], question=["q"]), "context, answers"),
    "parquet_of_numbers": (
        "a.parquet",
        parquet(id=[1], question=["q"], context=["c"], answers=[[]]),
        "column id is int64",
    ),
    "parquet_of_text_answers": (
        "a.parquet",
        parquet(id=["1"], question=["q"], context=["c"], answers=["Rollo"]),
        "column answers is string",
    ),
}


@pytest.mark.parametrize(("name", "content", "said"), KINDS.values(), ids=list(KINDS))
def test_broken_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(said)) as caught:
        inspect(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(SourceError, match=re.escape(str(path))):
            inspect(path)


def test_formats_are_told_by_content(tmp_path: Path) -> None:
    write_squad(tmp_path / "squad.json", 3)
    (tmp_path / "one.json").write_text(json.dumps(ROW))
    (tmp_path / "many.json").write_text(f"{json.dumps(ROW)}\nbroken\n")
    (tmp_path / "table.json").write_bytes(GOOD)
    found = {path.name: inspect(path) for path in tmp_path.iterdir()}
    assert {name: one.format for name, one in found.items()} == {
        "squad.json": "json", "one.json": "jsonl", "many.json": "jsonl", "table.json": "parquet",
    }  # fmt: skip
    squad, many, table = (found[name] for name in ("squad.json", "many.json", "table.json"))
    assert (squad.examples, squad.counts["answerable"]) == (6, 3)
    assert (many.examples, table.counts["answerable"]) == (2, 1)
