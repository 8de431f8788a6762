"""What a data file is, seen without Spark: its format, its size, and one clear error if it is none.

Formats are told by content: SQuAD v1.1 or v2.0 JSON, JSON Lines, Parquet. Looking into every
record is left to `validation`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from qa_assets.core.descriptions import FileFacts
from qa_assets.core.files import hash_files
from qa_assets.core.task import SourceError

Format = Literal["json", "jsonl", "parquet"]
REQUIRED = ("id", "question", "context", "answers")

_LONGEST_RECORD = 1 << 20
_LAYOUT = "data[].paragraphs[].{context, qas[].{id, question, answers, is_impossible}}"


def inspect(path: Path) -> FileFacts:
    """Count what a data file holds.

    Records that are broken in themselves are counted as well: `validation` rejects them.

    Raises:
        SourceError: it cannot be read, is cut off, has another schema, or holds no question.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise SourceError(f"{path} is empty (0 bytes): fetch or write it again")
        kind = format_of(path)
        articles, questions, answerable = {
            "json": _inspect_json, "jsonl": _inspect_lines, "parquet": _inspect_parquet,
        }[kind](path)  # fmt: skip
        checksum = hash_files(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    if not questions:
        raise SourceError(f"{path} holds no question")
    return FileFacts(
        kind, checksum, size, questions, {"articles": articles, "answerable": answerable}
    )


def format_of(path: Path) -> Format:
    """The format, by what the file begins with: its name may say anything."""
    with path.open("rb") as stream:
        start = stream.read(4)
        if start == b"PAR1":
            return "parquet"
        if path.suffix == ".parquet":
            raise SourceError(f"{path} is not Parquet: it begins with {start!r}, not with b'PAR1'")
        stream.seek(0)
        first = next((line for line in stream if line.strip()), b"")
        more = any(line.strip() for line in stream)
    if path.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if len(first) > _LONGEST_RECORD:
        return "json"
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return "json"  # an object over many lines, or not JSON at all
    record = isinstance(row, dict) and "question" in row
    return "jsonl" if record or (more and not _is_squad(row)) else "json"


def _is_squad(content: object) -> bool:
    return isinstance(content, dict) and "data" in content


def _inspect_json(path: Path) -> tuple[int | None, int, int]:
    try:
        content = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} is not JSON, or is cut off: {error}") from None
    except RecursionError:
        raise SourceError(f"{path} is not SQuAD: nested too deeply. Expected {_LAYOUT}") from None
    if not _is_squad(content) or not isinstance(content["data"], list):
        found = f"keys {', '.join(content)[:200]}" if isinstance(content, dict) else "no object"
        raise SourceError(
            f"{path} is not SQuAD at data: not a list there ({found}). Expected {_LAYOUT}"
        )
    questions = answerable = 0
    for article in content["data"]:
        for paragraph in _items(article, "paragraphs"):
            rows = _items(paragraph, "qas")
            questions += len(rows)
            answerable += sum(_is_answerable(row) for row in rows)
    if content["data"] and not questions:
        first = content["data"][0]
        raise SourceError(
            f"{path} is not SQuAD at data[0]: no paragraphs[].qas[] in"
            f" {json.dumps(first)[:80]}, nor in the {len(content['data']) - 1} articles after it."
            f" Expected {_LAYOUT}"
        )
    return len(content["data"]), questions, answerable


def _items(parent: object, key: str) -> list[Any]:
    found = parent.get(key) if isinstance(parent, dict) else None
    return found if isinstance(found, list) else []


def _is_answerable(row: object) -> bool:
    if not isinstance(row, Mapping):
        return False
    impossible = row.get("is_impossible")
    answers = row.get("answers")
    texts = answers.get("text") if isinstance(answers, Mapping) else answers
    return not impossible and bool(texts)


def _inspect_lines(path: Path) -> tuple[int | None, int, int]:
    questions = answerable = good = 0
    first_bad = ""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            questions += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                first_bad = first_bad or f"line {number}: {error}"
                continue
            complete = isinstance(row, dict) and row.keys() >= set(REQUIRED)
            if not complete:
                lacking = [
                    name for name in REQUIRED if not isinstance(row, dict) or name not in row
                ]
                first_bad = first_bad or f"line {number}: no {', '.join(lacking)}"
            good += complete
            answerable += _is_answerable(row)
    if questions and not good:
        raise SourceError(
            f"{path} is not JSON Lines of questions at {first_bad}. Expected an object a line with"
            f" {', '.join(REQUIRED)}"
        )
    return None, questions, answerable


def _inspect_parquet(path: Path) -> tuple[int | None, int, int]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        lacking = [name for name in REQUIRED if name not in schema.names]
        if lacking:
            raise SourceError(
                f"{path} has no column {', '.join(lacking)}: it has {', '.join(schema.names)}"
            )
        for name in ("id", "question", "context"):
            kind = schema.field(name).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise SourceError(f"{path}: the column {name} is {kind}, not string")
        answers = schema.field("answers").type
        if not _holds_answers(answers):
            raise SourceError(
                f"{path}: the column answers is {answers}, neither a list of"
                " {text: string, answer_start: int} nor a struct of lists of these"
            )
        table = pq.read_table(path, columns=["answers"])
    except pa.ArrowException as error:
        raise SourceError(f"{path} is not Parquet, or is cut off: {error}") from None
    column = table["answers"]
    texts = pc.struct_field(column, "text") if pa.types.is_struct(answers) else column
    lengths = pc.fill_null(pc.list_value_length(texts), 0)
    return None, table.num_rows, pc.sum(pc.greater(lengths, 0)).as_py() or 0


def _holds_answers(kind: Any) -> bool:
    import pyarrow as pa

    def is_list(one: Any) -> bool:
        return bool(pa.types.is_list(one) or pa.types.is_large_list(one))

    struct = kind.value_type if is_list(kind) else kind
    if not pa.types.is_struct(struct):
        return False
    fields = {field.name: field.type for field in struct}
    if not fields.keys() >= {"text", "answer_start"}:
        return False
    leaves = [fields["text"], fields["answer_start"]]
    if not is_list(kind):
        if not all(is_list(leaf) for leaf in leaves):
            return False
        leaves = [leaf.value_type for leaf in leaves]
    is_text = pa.types.is_string(leaves[0]) or pa.types.is_large_string(leaves[0])
    return bool(is_text and pa.types.is_integer(leaves[1]))
