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
from qa_assets.core.task import SourceError
from qa_assets.data.inspection import Counts, first_lines, inspect_file

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
    ".json": "json",
}  # fmt: skip
_ENCODING = "utf-8-sig"  # spreadsheets begin their files with a byte-order mark


class Record(NamedTuple):
    """One labelled text as it stands in a file.

    Attributes:
        place: for people.
        part: `train`, `valid` or `test` where the file says, else None.
        id: the file's own, else its name and a number.
        text: what is classified; anything.
        label: a text, a number, or a list of such; anything.
    """

    place: str
    part: str | None
    id: str
    text: Any
    label: Any


def format_of(path: Path) -> Format:
    """The format, by the file's first bytes or its suffix.

    Raises:
        SourceError: it is none of them.
    """
    lines = first_lines(path)
    if not lines:
        return "parquet"
    if path.suffix not in _SUFFIXES:
        raise SourceError(f"{path} is of no known format; expected {EXPECTED}")
    kind = _SUFFIXES[path.suffix]
    if kind == "json":
        try:
            row = json.loads(lines[0])
        except (ValueError, RecursionError):
            return "json"  # an object over many lines, or not JSON at all
        return "jsonl" if isinstance(row, dict) and "text" in row else "json"
    return kind


def inspect(path: Path, out_of_scope: str | None, separator: str | None) -> FileFacts:
    """Count what a data file holds.

    Args:
        path: the file.
        out_of_scope: the label of texts that no label fits.
        separator: between the labels of a text; None: a text has one label.

    Raises:
        SourceError: it cannot be read, is cut off, has another schema, or holds no text.
    """

    def count(_: str) -> Counts:
        names = [set(labels_of(record.label, separator) or ()) for record in read(path)]
        answerable = sum(bool(labels - {out_of_scope}) for labels in names)
        return len(names), {"labels": len(set().union(*names)), "answerable": answerable}

    return inspect_file(path, format_of, count, f"text; expected {EXPECTED}")


def labels_of(label: Any, separator: str | None) -> list[str] | None:
    """The labels that a record's field holds, without blanks around them; None: it is no label.

    Numbers are labels as JSON writes them.
    """
    if isinstance(label, list):
        if any(item is None or isinstance(item, list | dict) for item in label):
            return None
        names = [_text(item) for item in label]
    elif label is None or isinstance(label, dict):
        return None
    else:
        names = _text(label).split(separator) if separator else [_text(label)]
    return [name for name in dict.fromkeys(name.strip() for name in names) if name]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


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


def stem_of(path: Path) -> str:
    """What made-up ids of the file's records begin with."""
    return path.name.partition(".")[0]


def _numbered(path: Path, word: str, number: int, key: Any, text: Any, label: Any) -> Record:
    """A record that is known by its number."""
    own = str(key) if key not in (None, "") else f"{stem_of(path)}-{number}"
    return Record(f"{word} {number}", None, own, text, label)


def _read_tsv(path: Path) -> Iterator[Record]:
    texts = tabs = 0
    with path.open(encoding=_ENCODING) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            label, tab, text = line.rstrip("\r\n").partition("\t")
            texts, tabs = texts + 1, tabs + bool(tab)
            yield _numbered(path, "line", number, None, text if tab else None, label)
    if texts and not tabs:
        raise SourceError(f"{path} has no line of label<TAB>text; expected {EXPECTED}")


def csv_columns(path: Path) -> list[str]:
    """The columns of a CSV file.

    Raises:
        SourceError: `text` or `label` is not among them.
    """
    with path.open(encoding=_ENCODING, newline="") as stream:
        names = next(csv.reader(stream), [])
    lacking = [name for name in ("text", "label") if name not in names]
    if lacking:
        raise SourceError(
            f"{path} has no column {', '.join(lacking)}: its first line names"
            f" {', '.join(names)[:200] or 'none'}"
        )
    return names


def _read_csv(path: Path) -> Iterator[Record]:
    try:
        columns = csv_columns(path)
        with path.open(encoding=_ENCODING, newline="") as stream:
            rows = csv.reader(stream)
            next(rows)
            for number, cells in enumerate((row for row in rows if row), 1):
                # an unquoted comma gives a row more cells than there are columns
                whole = len(cells) == len(columns)
                row = dict(zip(columns, cells, strict=True)) if whole else {}
                yield _numbered(
                    path, "row", number, row.get("id"), row.get("text"), row.get("label")
                )
    except csv.Error as error:
        raise SourceError(f"{path} is not CSV: {error}") from None


def _read_lines(path: Path) -> Iterator[Record]:
    good, first_bad = False, ""
    with path.open(encoding=_ENCODING) as stream:
        number = 0
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                first_bad, row = first_bad or f"line {number}: {error}", None
            fields = row if isinstance(row, dict) else {}
            good = good or "text" in fields
            first_bad = first_bad or ("" if "text" in fields else f"line {number}: no text")
            label = fields.get("labels", fields.get("label"))
            yield _numbered(path, "line", number, fields.get("id"), fields.get("text"), label)
    if first_bad and not good:
        raise SourceError(
            f"{path} is not JSON Lines of texts at {first_bad}. Expected an object a line with"
            " `text` and `label`"
        )


def _read_clinc(path: Path) -> Iterator[Record]:
    try:
        content = json.loads(path.read_bytes())
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise SourceError(f"{path} is not JSON, or is cut off: {error}") from None
    except RecursionError:
        raise SourceError(f"{path} is not CLINC150's JSON: nested too deeply") from None
    lists = content if isinstance(content, dict) else {}
    wrong = [
        name for name, rows in lists.items() if name not in PARTS or not isinstance(rows, list)
    ]
    if wrong or not lists:
        what = ", ".join(wrong)[:200] or ("an empty object" if content == {} else "no object")
        raise SourceError(
            f"{path} is not CLINC150's JSON: {what}. Expected lists of [text, label] under"
            f" {', '.join(PARTS)}"
        )
    for key, part in PARTS.items():
        for number, row in enumerate(lists.get(key, ())):
            pair = row if isinstance(row, list) and len(row) == 2 else (None, None)
            yield Record(f"{key}[{number}]", part, f"{key}-{number}", *pair)


def label_column(columns: list[str]) -> str | None:
    """The column of a Parquet file that holds the labels."""
    return next((name for name in ("labels", "label") if name in columns), None)


def _read_parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        label = label_column(schema.names)
        if label is None or "text" not in schema.names:
            raise SourceError(
                f"{path} needs the columns text and label: it has {', '.join(schema.names)[:200]}"
            )
        for name in ("text", label):
            if not _holds(schema.field(name).type, numbers=name != "text"):
                wanted = "string" if name == "text" else "string, integer or a list of such"
                raise SourceError(
                    f"{path}: the column {name} is {schema.field(name).type}, not {wanted}"
                )
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise SourceError(f"{path} is not Parquet, or is cut off: {error}") from None
    for number, row in enumerate(table.to_pylist(), 1):
        yield _numbered(path, "row", number, row.get("id"), row["text"], row[label])


def _holds(kind: Any, numbers: bool) -> bool:
    """Whether an Arrow type is text; with `numbers` integers and lists count as well."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if numbers and is_list:
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = kind in (pa.string(), pa.large_string())
    return bool(is_text or (numbers and pa.types.is_integer(kind)))
