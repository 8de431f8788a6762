"""Getting the data files: generated, from directories, addresses and the hub's library."""

import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qa_assets.core.descriptions import FileFacts
from qa_assets.core.task import SourceError
from qa_assets.data.config import DataConfig
from qa_assets.data.sources import fetch
from qa_assets.tasks.question_answering import QuestionAnswering

TASK = QuestionAnswering()


def write_squad(path: Path, articles: int = 3) -> None:
    """A small but whole SQuAD v2.0 file: two questions an article, one without an answer."""
    path.write_text(json.dumps({"version": "v2.0", "data": [article(n) for n in range(articles)]}))


def article(number: int) -> dict[str, Any]:
    context = f"Town {number} lies on the river Ouse. It has a mill."
    return {
        "title": f"Town {number}",
        "paragraphs": [
            {
                "context": context,
                "qas": [
                    {
                        "id": f"q{number}-a",
                        "question": f"On which river lies town {number}?",
                        "answers": [{"text": "Ouse", "answer_start": context.index("Ouse")}] * 2,
                        "is_impossible": False,
                    },
                    {
                        "id": f"q{number}-b",
                        "question": f"Who rules town {number}?",
                        "answers": [],
                        "is_impossible": True,
                    },
                ],
            }
        ],
    }


def get(source: str | Path, tmp_path: Path, **settings: Any) -> tuple[dict[str, FileFacts], Path]:
    out = tmp_path / "out"
    out.mkdir()
    data = DataConfig(source=str(source), **settings)
    return fetch(TASK, data, out, tmp_path / "downloads"), out


@pytest.mark.parametrize(
    ("train", "dev"),
    [
        ("train-v2.0.json", "dev-v2.0.json"),
        ("train-v1.1.json", "dev.json"),
        ("train.json", "validation.json"),
        ("train.json", "test.json"),
    ],
)
def test_local_directory_is_copied_and_counted(tmp_path: Path, train: str, dev: str) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    write_squad(source / train, 3)
    write_squad(source / dev, 2)
    facts, out = get(source, tmp_path)
    assert list(facts) == ["train.json", "dev.json"]
    assert (facts["train.json"].examples, facts["train.json"].counts["answerable"]) == (6, 3)
    assert (out / "dev.json").read_bytes() == (source / dev).read_bytes()


def test_directory_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no train file.*data.source"):
        get(tmp_path, tmp_path)
    write_squad(tmp_path / "train.json")
    (tmp_path / "out").rmdir()
    with pytest.raises(SourceError, match=r"no dev or validation or test file"):
        get(tmp_path, tmp_path)


def test_mixed_formats_of_a_directory(tmp_path: Path) -> None:
    row = {"id": "1", "question": "Who?", "context": "Rollo.", "answers": []}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    pq.write_table(
        pa.Table.from_pylist([row | {"answers": [{"text": "R", "answer_start": 0}]}]),
        tmp_path / "dev.parquet",
    )
    facts, out = get(tmp_path, tmp_path)
    assert {path.name for path in out.iterdir()} == {"train.jsonl", "dev.parquet"} == set(facts)


def test_address_through_fsspec(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    write_squad(tmp_path / "a.json")
    for name in ("train.json", "dev.json"):
        memory.pipe(f"/questions/{name}", (tmp_path / "a.json").read_bytes())
    facts, out = get("memory://questions", tmp_path)
    assert facts["train.json"].examples == 6
    assert {path.name for path in out.iterdir()} == {"train.json", "dev.json"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("memory://nowhere", "memory://nowhere cannot be read"),
        ("nosuch://bucket/squad", "nosuch"),
        ("s3://bucket/squad", "s3fs for s3://"),
        ("gs://bucket/squad", "gcsfs for gs://"),
        ("abfs://box@account.dfs.core.windows.net/squad", "adlfs for abfs://"),
    ],
)
def test_address_that_cannot_be_had(tmp_path: Path, address: str, said: str) -> None:
    if "fs for" in said:
        package = said.split()[0]
        try:
            __import__(package)
        except ImportError:
            pass
        else:
            pytest.skip(f"{package} is installed")
    with pytest.raises(SourceError, match=said):
        get(address, tmp_path)


def test_data_set_by_the_library_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    rows = [
        {
            "id": str(n),
            "title": "t",
            "context": "Rollo.",
            "question": "Who?",
            "answers": {"text": ["Rollo"], "answer_start": [0]},
        }
        for n in range(3)
    ]
    for split, count in (("train", 3), ("validation", 2)):
        place = tmp_path / "set" / "data"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.Table.from_pylist(rows[:count]), place / f"{split}-00000-of-00001.parquet"
        )
    facts, out = get(f"hf:{tmp_path / 'set'}", tmp_path)
    assert {name: one.examples for name, one in facts.items()} == {
        "train.parquet": 3,
        "dev.parquet": 2,
    }
    assert facts["train.parquet"].counts["answerable"] == 3
    (tmp_path / "out2").mkdir()
    with pytest.raises(SourceError, match="hf:nobody/no_such_set cannot be had from the hub"):
        nobody = DataConfig(source="hf:nobody/no_such_set")
        fetch(TASK, nobody, tmp_path / "out2", tmp_path / "down")


def test_generated_source_is_deterministic(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        facts, _ = get("generated", tmp_path / name, generated_examples=1000)
        hashes.append({key: one.sha256 for key, one in facts.items()})
    assert hashes[0] == hashes[1]
