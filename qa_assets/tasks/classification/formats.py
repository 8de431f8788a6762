"""Files of labelled texts, read without Spark: to count what they hold, and to score on them.

Formats: `label<TAB>text` a line, CSV and Parquet with the columns `text` and `label`, JSON Lines
with such fields, and CLINC150's JSON, an object of lists of [text, label]. `validation` checks
every record.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qa_assets.core.descriptions import FileFacts
from qa_assets.core.files import hash_files
from qa_assets.core.task import SourceError

Format = Literal["tsv", "csv", "jsonl", "json", "parquet"]
PARTS = {
    "train": "train", "val": "valid", "test": "test",
    "oos_train": "train", "oos_val": "valid", "oos_test": "test",
}  # fmt: skip
"""The lists of CLINC150, and the split that each belongs to."""
EXPECTED = (
    "label<TAB>text a line, CSV, JSON Lines or Parquet with `text` and `label`, or CLINC150's JSON"
)
_SUFFIXES: dict[str, Format] = {
    ".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".json": "json",
}  # fmt: skip


class Record(NamedTuple):
    """One labelled text as it stands in a file.

    Attributes:
        place: for people.
        part: `train`, `valid` or `test` where the file says, else None.
        id: None where there is none.
        text: what is classified; anything.
        label: a text, or a list of such; anything.
    """

    place: str
    part: str | None
    id: Any
    text: Any
    label: Any


def format_of(path: Path) -> Format:
    """The format, by the file's first bytes or its suffix.

    Raises:
        SourceError: it is none of them.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
        if start == b"PAR1":
            return "parquet"
        stream.seek(0)
        first = next((line for line in stream if line.strip()), b"")
    kind = _SUFFIXES.get(path.suffix)
    if kind is None or kind == "parquet":
        raise SourceError(f"{path} is of no known format; expected {EXPECTED}")
    if kind == "json":
        try:
            row = json.loads(first)
        except ValueError:
            return "json"  # an object over many lines, or not JSON at all
        return "jsonl" if isinstance(row, dict) and "text" in row else "json"
    return kind


def inspect(path: Path, out_of_scope: str | None) -> FileFacts:
    """Count what a data file holds.

    Args:
        path: the file.
        out_of_scope: the label of texts that no label fits.

    Raises:
        SourceError: it cannot be read, is cut off, has another schema, or holds no text.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise SourceError(f"{path} is empty (0 bytes): fetch or write it again")
        kind = format_of(path)
        total = labelled = 0
        labels: set[str] = set()
        for record in read(path):
            total += 1
            names = record.label if isinstance(record.label, list) else [record.label]
            known = {name for name in names if isinstance(name, str) and name.strip()}
            labelled += bool(known - {out_of_scope})
            labels |= known
        checksum = hash_files(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    if not total:
        raise SourceError(f"{path} holds no text; expected {EXPECTED}")
    return FileFacts(kind, checksum, size, total, {"labels": len(labels), "answerable": labelled})


def read(path: Path) -> Iterator[Record]:
    """The records of a file, in their order.

    Raises:
        SourceError: the file as a whole is not what its format promises.
    """
    readers: dict[Format, Callable[[Path], Iterator[Record]]] = {
        "tsv": _read_tsv, "csv": _read_csv, "jsonl": _read_lines, "json": _read_clinc,
        "parquet": _read_parquet,
    }  # fmt: skip
    try:
        yield from readers[format_of(path)](path)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error}") from None


def _read_tsv(path: Path) -> Iterator[Record]:
    tabs = False
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            label, tab, text = line.rstrip("\r\n").partition("\t")
            tabs = tabs or bool(tab)
            yield Record(f"line {number}", None, None, text if tab else None, label)
    if not tabs:
        raise SourceError(f"{path} has no line of label<TAB>text")


def _read_csv(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        lacking = [name for name in ("text", "label") if name not in (reader.fieldnames or ())]
        if lacking:
            raise SourceError(
                f"{path} has no column {', '.join(lacking)}: its first line names"
                f" {', '.join(reader.fieldnames or ()) or 'none'}"
            )
        for number, row in enumerate(reader, 1):
            yield Record(f"row {number}", None, row.get("id"), row["text"], row["label"])


def _read_lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as stream:
        good = first_bad = None
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                first_bad = first_bad or f"line {number}: {error}"
                row = None
            fields = row if isinstance(row, dict) else {}
            good = good or "text" in fields
            label = fields.get("labels", fields.get("label"))
            yield Record(f"line {number}", None, fields.get("id"), fields.get("text"), label)
    if not good:
        raise SourceError(
            f"{path} is not JSON Lines of texts at {first_bad or 'line 1: no text'}; expected an"
            " object a line with `text` and `label`"
        )


def _read_clinc(path: Path) -> Iterator[Record]:
    try:
        content = json.loads(path.read_bytes())
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON, or is cut off: {error}") from None
    lists = {key: content[key] for key in PARTS if key in content} if _is_clinc(content) else {}
    if not lists:
        names = ", ".join(content)[:200] if isinstance(content, dict) else "no object"
        raise SourceError(f"{path} has none of the lists {', '.join(PARTS)} ({names})")
    for key, rows in lists.items():
        for number, row in enumerate(rows):
            pair = row if isinstance(row, list) and len(row) == 2 else (None, None)
            yield Record(f"{key}[{number}]", PARTS[key], f"{key}-{number}", *pair)


def _is_clinc(content: object) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content[key], list) for key in PARTS if key in content
    )


def _read_parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise SourceError(f"{path} is not Parquet, or is cut off: {error}") from None
    label = next((name for name in ("labels", "label") if name in table.column_names), None)
    if label is None or "text" not in table.column_names:
        raise SourceError(
            f"{path} needs the columns text and label: it has {', '.join(table.column_names)}"
        )
    for number, row in enumerate(table.to_pylist(), 1):
        yield Record(f"row {number}", None, row.get("id"), row["text"], row[label])
