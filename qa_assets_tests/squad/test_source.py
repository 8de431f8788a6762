"""Getting the SQuAD files: from a directory, generated, and what is said of broken ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from qa_assets.settings import DataSettings
from qa_assets.squad.source import SourceError, fetch, inspect


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


def test_local_directory_is_copied_and_counted(tmp_path: Path) -> None:
    source, out = tmp_path / "mine", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    write_squad(source / "train-v2.0.json", 3)
    write_squad(source / "dev.json", 2)
    facts = fetch(DataSettings(source=str(source)), out)
    assert (facts["train.json"].questions, facts["train.json"].answerable) == (6, 3)
    assert (out / "dev.json").read_bytes() == (source / "dev.json").read_bytes()


def test_directory_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no train-v2\.0\.json.*QA_ASSETS_DATA_SOURCE"):
        fetch(DataSettings(source=str(tmp_path)), tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not readable as JSON"),
        (b'{"data": [', "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b'{"rows": []}', "not SQuAD v2.0"),
        (b'{"data": []}', "holds no question"),
        (b'{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1"}]}]}]}', r"data\[0\]"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=said) as caught:
        inspect(path)
    assert str(path) in str(caught.value)


def test_generated_source_is_deterministic(tmp_path: Path) -> None:
    settings = DataSettings(source="generated", generated_questions=1000)
    hashes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        hashes.append({key: f.sha256 for key, f in fetch(settings, tmp_path / name).items()})
    assert hashes[0] == hashes[1]
