"""What engines are asked, and when their answers are the same, or as good."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qa_assets.deployment import parity
from qa_assets.tasks.question_answering import metric
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.tasks.question_answering.windows import PieceCounter, Windows
from qa_assets_tests.deployment.conftest import UNUSED_IDS

ROWS: list[dict[str, Any]] = [
    {
        "title": f"Article {number % 9}",
        "question": f"Who wrote program {number}?",
        "context": f"Ada Lovelace wrote program {number} in 1843.",
        "references": ["Ada Lovelace"] if number % 3 else [],
    }
    for number in range(60)
]


def test_questions_of_every_kind(model_dir: Path) -> None:
    windows = Windows(PieceCounter(model_dir / "spiece.model"), 256, 64)
    asked = parity.questions(ROWS, 100, windows)
    kinds = [row["kind"] for row in asked]
    assert kinds.count("as given") == 60
    assert kinds.count("no answer") == 40
    assert kinds.count("empty context") == 2
    assert kinds.count("Unicode") == 5
    assert kinds.count("long context") > 15
    assert asked[0]["source"] == source_text(ROWS[0]["question"], ROWS[0]["context"])
    long = [row["source"] for row in asked if row["kind"] == "long context"]
    assert sum(windows.count(long)) > 5_000
    assert max(windows.count(long)) < 256
    assert {str(row["references"]) for row in asked if row["kind"] == "no answer"} == {"[]"}


def test_comparison_lists_what_differs(model_dir: Path, tmp_path: Path) -> None:
    windows = Windows(PieceCounter(model_dir / "spiece.model"), 256, 64)
    asked = parity.questions(ROWS, 60, windows)
    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    settings = json.loads((model / "generation_config.json").read_text())
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    # which transformers cannot spell
    settings["suppress_tokens"] = list(range(vocabulary - UNUSED_IDS, vocabulary))
    (model / "generation_config.json").write_text(json.dumps(settings))
    parity.expect(model, asked, tmp_path, null_text="unavailable", max_new_tokens=4,
                  batch_size=16, precision="auto")  # fmt: skip
    rows = parity.expected(tmp_path)
    assert [row["source"] for row in rows] == [row["source"] for row in asked]
    answers = [row["answer"] for row in rows]
    assert len(set(answers)) > 3

    same = parity.compare(rows, answers, metric.f1_each)
    assert (same.same, same.as_good, same.differing, same.loss) == (True, True, [], 0)
    other = [*answers[:-1], "something else"]
    found = parity.compare(rows, other, metric.f1_each)
    assert found.equal == len(rows) - 1
    assert found.differing == [
        {
            "kind": "long context",
            "source": rows[-1]["source"],
            "transformers": answers[-1],
            "here": "something else",
        }
    ]
    assert not found.same  # 1 of some 80 is more than 0.5 %


def test_a_loss_that_is_sure_is_not_as_good() -> None:
    rows = [row | {"kind": "as given", "source": "", "answer": (row["references"] or [""])[0]}
            for row in ROWS]  # fmt: skip
    abstaining = parity.compare(rows, [""] * len(rows), metric.f1_each)
    assert abstaining.loss == pytest.approx(100 * 2 / 3)
    assert not abstaining.as_good
