"""Examples and tiny models that the tests of models and training share."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Example
from qa_assets.models import base_model, tiny_t5
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.tasks.question_answering.generated import generate
from qa_assets.training.config import TrainingConfig
from qa_assets.training.trainer import TrainingInputs

TASK = QuestionAnswering()
CONFIG = TrainingConfig(
    learning_rate=1e-3,
    warmup_steps=5,
    epochs=3,
    batch_tokens=700,
    eval_batch_size=16,
    precision="fp32",
    max_source_tokens=96,
    max_target_tokens=8,
    eval_examples=24,
    evaluations=2,
)


def make_examples(path: Path) -> list[Example]:
    """The questions of a SQuAD file."""
    return [
        Example(
            id=question["id"],
            group=article["title"],
            inputs={"question": question["question"], "context": paragraph["context"]},
            references=[answer["text"] for answer in question["answers"]],
            extra={"answers": question["answers"]},
        )
        for article in json.loads(path.read_text())["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def sources(examples: list[Example]) -> list[str]:
    """What a model reads of each example."""
    return [prompt.source for example in examples for prompt in TASK.prompts(example)]


def texts(examples: list[Example]) -> list[str]:
    """Sources and targets, to make a vocabulary of."""
    prompts = [prompt for example in examples for prompt in TASK.prompts(example)]
    return [text for prompt in prompts for text in (prompt.source, *prompt.targets)]


def inputs(base: Path, data: Path) -> TrainingInputs:
    """A training of question answering."""
    return TrainingInputs(TASK, base, data / "train", data / "valid")


def first_t5(base: Path) -> Any:
    """ReLU without a gate, and a head that is the embedding."""
    from transformers import T5Config, T5ForConditionalGeneration

    shape = base_model.load(base)[0].config.to_dict()
    changed = {"feed_forward_proj": "relu", "tie_word_embeddings": True}
    return T5ForConditionalGeneration(T5Config(**shape | changed)).eval()


def write_examples(examples: list[Example], path: Path) -> Path:
    """Write examples as a directory of two part files, as Spark does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answer = pa.struct({"text": pa.string(), "answer_start": pa.int32()})
    schema = pa.schema(
        {
            "id": pa.string(),
            "group": pa.string(),
            "inputs": pa.struct({"question": pa.string(), "context": pa.string()}),
            "references": pa.list_(pa.string()),
            "extra": pa.struct({"answers": pa.list_(answer)}),
        }
    )
    path.mkdir()
    half = len(examples) // 2
    for number, part in enumerate((examples[:half], examples[half:])):
        table = pa.Table.from_pylist([asdict(example) for example in part], schema=schema)
        pq.write_table(table, path / f"part-{number:05d}.parquet")
    (path / "_SUCCESS").touch()
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories `train` (180 examples) and `valid` (27)."""
    out = tmp_path_factory.mktemp("rows")
    generate(out, 207)
    write_examples(make_examples(out / "train-v2.0.json"), out / "train")
    write_examples(make_examples(out / "dev-v2.0.json"), out / "valid")
    return out


@pytest.fixture(scope="session")
def examples(data: Path) -> list[Example]:
    """The examples to train on."""
    return make_examples(data / "train-v2.0.json")


@pytest.fixture(scope="session")
def babbler(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says something else to every source, all of it nonsense."""
    import torch

    model, tokenizer = base_model.load(base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return base_model.save(model, tokenizer, tmp_path_factory.mktemp("models") / "babbler")


@pytest.fixture(scope="session")
def base(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5 that has learnt nothing."""
    out = tmp_path_factory.mktemp("base")
    return tiny_t5.create(texts(examples), out, [TASK.abstention], seed=1)
