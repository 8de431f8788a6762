"""Splits in an artefact store, as the asset of the splits leaves them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.core.examples import Example
from qa_assets.tasks.question_answering import QuestionAnswering


def write_examples(examples: Sequence[Example], path: Path) -> Path:
    """Write examples of question answering as a Parquet file, with the columns of a split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = pa.list_(pa.struct({"text": pa.string(), "answer_start": pa.int32()}))
    text = pa.string()
    schema = pa.schema(
        {
            "id": text,
            "group": text,
            "inputs": pa.struct({"question": text, "context": text}),
            "references": pa.list_(text),
            "extra": pa.struct({"answers": answers}),
        }
    )
    rows = [asdict(example) for example in examples]
    for row in rows:
        row["extra"] = {"answers": row["extra"].get("answers", [])}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def write_split(
    store: ArtifactStore, name: str, examples: Sequence[Example], *inputs: Artifact, **info: Any
) -> Artifact:
    """A new version of a split."""
    with store.write(name, *inputs) as draft:
        write_examples(examples, draft.path / "rows" / "part-0.parquet")
        draft.info |= {
            "examples": len(examples),
            "answerable": sum(bool(example.references) for example in examples),
            "task": QuestionAnswering().spec(),
            **info,
        }
    return draft.done()
