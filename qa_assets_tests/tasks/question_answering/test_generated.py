"""The generated data set: schema, offsets, disjoint subjects, determinism."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qa_assets.tasks.question_answering.generated import generate

FILES = ("train-v2.0.json", "dev-v2.0.json")


def questions(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Title, context and question of every question in a file."""
    content = json.loads(path.read_text())
    assert content["version"] == "v2.0"
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield article["title"], paragraph["context"], question


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    generate(out)
    return out


def test_sizes(generated: Path) -> None:
    train, dev = (list(questions(generated / name)) for name in FILES)
    assert len(train) + len(dev) == 4000
    assert 500 <= len(dev) <= 600
    for part in (train, dev):
        share = sum(question["is_impossible"] for _, _, question in part) / len(part)
        assert 0.3 < share < 0.36


def test_answers_lie_where_they_are_said_to(generated: Path) -> None:
    for name in FILES:
        for _, context, question in questions(generated / name):
            told = question["plausible_answers" if question["is_impossible"] else "answers"]
            assert len(told) == 1
            start, text = told[0]["answer_start"], told[0]["text"]
            assert context[start : start + len(text)] == text
            assert bool(question["answers"]) != question["is_impossible"]


def test_ids_are_unique_and_dev_is_about_other_subjects(generated: Path) -> None:
    train, dev = (list(questions(generated / name)) for name in FILES)
    ids = [question["id"] for _, _, question in train + dev]
    assert len(ids) == len(set(ids))
    assert not {title for title, _, _ in train} & {title for title, _, _ in dev}


def test_unanswerable_questions_ask_what_the_context_does_not_state(generated: Path) -> None:
    """What a paragraph is asked without an answer, none of its answered questions asks."""
    paragraphs: dict[str, dict[bool, set[str]]] = {}
    for _, context, question in questions(generated / FILES[0]):
        asked = paragraphs.setdefault(context, {True: set(), False: set()})
        asked[question["is_impossible"]].add(question["question"])
    assert all(not asked[True] & asked[False] for asked in paragraphs.values())
    assert any(asked[True] and asked[False] for asked in paragraphs.values())


def test_same_seed_same_bytes(generated: Path, tmp_path: Path) -> None:
    generate(tmp_path / "same")
    generate(tmp_path / "other", seed=14)
    for name in FILES:
        assert (tmp_path / "same" / name).read_bytes() == (generated / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (generated / name).read_bytes()


@pytest.mark.parametrize("count", [0, 100_000])
def test_refuses_sizes_it_has_no_subjects_for(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(count)):
        generate(tmp_path / "none", count)
    assert not (tmp_path / "none").exists()
