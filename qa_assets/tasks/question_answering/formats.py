"""What a data file is, seen without Spark: its format, its size, and one clear error if it is none.

Formats are told by content: SQuAD v1.1 or v2.0 JSON, JSON Lines, Parquet. Looking into every
record is left to `validation`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from qa_assets.core.descriptions import FileFacts
from qa_assets.core.task import SourceError
from qa_assets.data.inspection import Counts, first_lines, inspect_file

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
    counters = {"json": _count_json, "jsonl": _count_lines, "parquet": _count_parquet}
    return inspect_file(path, format_of, lambda kind: counters[kind](path), "question")


def format_of(path: Path) -> Format:
    """The format, by what the file begins with: its name may say anything."""
    lines = first_lines(path)
    if not lines:
        return "parquet"
    if path.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if len(lines[0]) > _LONGEST_RECORD:
        return "json"
    try:
        row = json.loads(lines[0])
    except (ValueError, RecursionError):
        return "json"  # an object over many lines, or not JSON at all
    record = isinstance(row, dict) and "question" in row
    return "jsonl" if record or (len(lines) > 1 and not _is_squad(row)) else "json"


def _is_squad(content: object) -> bool:
    return isinstance(content, dict) and "data" in content


def _count_json(path: Path) -> Counts:
    try:
        content = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} is not JSON, or is cut off: {error}") from None
    except RecursionError:
        raise SourceError(f"{path} is not SQuAD: nested too deeply. Expected {_LAYOUT}") from None
    if not _is_squad(content) or not isinstance(content["data"], list):
        keys = f"keys {', '.join(content)[:200]}" if isinstance(content, dict) else "no object"
        raise SourceError(
            f"{path} is not SQuAD at data: not a list there ({keys}). Expected {_LAYOUT}"
        )
    articles = content["data"]
    rows = [
        row
        for article in articles
        for paragraph in _items(article, "paragraphs")
        for row in _items(paragraph, "qas")
    ]
    if articles and not rows:
        raise SourceError(
            f"{path} is not SQuAD at data[0]: no paragraphs[].qas[] in"
            f" {json.dumps(articles[0])[:80]}, nor in the {len(articles) - 1} articles after it."
            f" Expected {_LAYOUT}"
        )
    return len(rows), {"articles": len(articles), "answerable": sum(map(_is_answerable, rows))}


def _items(parent: object, key: str) -> list[Any]:
    items = parent.get(key) if isinstance(parent, dict) else None
    return items if isinstance(items, list) else []


def _is_answerable(row: object) -> bool:
    if not isinstance(row, Mapping):
        return False
    answers = row.get("answers")
    texts = answers.get("text") if isinstance(answers, Mapping) else answers
    return not row.get("is_impossible") and bool(texts)


def _count_lines(path: Path) -> Counts:
    questions = answerable = good = 0
    first_fault = ""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                fields = row if isinstance(row, dict) else {}
                fault = ", ".join(name for name in REQUIRED if name not in fields)
                fault = fault and f"no {fault}"
            except (ValueError, RecursionError) as error:
                row, fault = None, str(error)
            first_fault = first_fault or (fault and f"line {number}: {fault}")
            questions += 1
            good += not fault
            answerable += _is_answerable(row)
    if questions and not good:
        raise SourceError(
            f"{path} is not JSON Lines of questions at {first_fault}. Expected an object a line"
            f" with {', '.join(REQUIRED)}"
        )
    return questions, {"articles": None, "answerable": answerable}


def _count_parquet(path: Path) -> Counts:
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
            if (kind := schema.field(name).type) not in (pa.string(), pa.large_string()):
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
    answerable = pc.sum(pc.greater(lengths, 0)).as_py() or 0
    return table.num_rows, {"articles": None, "answerable": answerable}


def _holds_answers(kind: Any) -> bool:
    import pyarrow as pa

    def items(kind: Any) -> Any:
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return kind.value_type if is_list else None

    struct = items(kind) or kind
    fields = {field.name: field.type for field in struct} if pa.types.is_struct(struct) else {}
    text, start = (fields.get(name, pa.null()) for name in ("text", "answer_start"))
    if struct is kind:
        text, start = items(text), items(start)
    is_text = text in (pa.string(), pa.large_string())
    return bool(is_text and start and pa.types.is_integer(start))
