"""Rows and a tiny model that all tests of the training share."""

import json
from pathlib import Path
from typing import Any

import pytest

from qa_assets.models import base_model, tiny_t5
from qa_assets.tasks.question_answering.generated import generate
from qa_assets.training.config import TrainingConfig
from qa_assets.training.features import Row

NULL_TEXT = "unavailable"
CONFIG = TrainingConfig(
    learning_rate=1e-3,
    warmup_steps=5,
    epochs=3,
    batch_tokens=700,
    eval_batch_size=16,
    precision="fp32",
    max_source_tokens=96,
    max_target_tokens=8,
    eval_questions=24,
    evaluations=2,
)


def make_rows(path: Path) -> list[Row]:
    """The questions of a SQuAD file as rows."""
    return [
        Row(
            id=question["id"],
            source=f"question: {question['question']} context: {paragraph['context']}",
            target=next((answer["text"] for answer in question["answers"]), NULL_TEXT),
            references=[answer["text"] for answer in question["answers"]],
            answers=question["answers"],
        )
        for article in json.loads(path.read_text())["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def first_t5(base: Path) -> Any:
    """ReLU without a gate, and a head that is the embedding."""
    from transformers import T5Config, T5ForConditionalGeneration

    shape = base_model.load(base)[0].config.to_dict()
    changed = {"feed_forward_proj": "relu", "tie_word_embeddings": True}
    return T5ForConditionalGeneration(T5Config(**shape | changed)).eval()


def write_rows(rows: list[Row], path: Path) -> Path:
    """Write rows as a directory of two part files, as Spark does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {"title": pa.string(), "id": pa.string(), "source": pa.string(), "target": pa.string()}
        | {"references": pa.list_(pa.string())}
        | {"answers": pa.list_(pa.struct({"text": pa.string(), "answer_start": pa.int32()}))}
    )
    path.mkdir()
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        table = pa.Table.from_pylist(
            [dict(row) | {"title": row["id"].split("-")[0]} for row in part], schema=schema
        )
        pq.write_table(table, path / f"part-{number:05d}.parquet")
    (path / "_SUCCESS").touch()
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories `train` (180 rows) and `valid` (27)."""
    out = tmp_path_factory.mktemp("rows")
    generate(out, questions=207)
    write_rows(make_rows(out / "train-v2.0.json"), out / "train")
    write_rows(make_rows(out / "dev-v2.0.json"), out / "valid")
    return out


@pytest.fixture(scope="session")
def rows(data: Path) -> list[Row]:
    """The rows to train on."""
    return make_rows(data / "train-v2.0.json")


@pytest.fixture(scope="session")
def babbler(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers every source otherwise, all of it nonsense."""
    import torch

    model, tokenizer = base_model.load(base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return base_model.save(model, tokenizer, tmp_path_factory.mktemp("models") / "babbler")


@pytest.fixture(scope="session")
def base(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5 that has learnt nothing."""
    texts = [text for row in rows for text in (row["source"], row["target"])]
    return tiny_t5.create(texts, tmp_path_factory.mktemp("base"), NULL_TEXT, seed=1)
