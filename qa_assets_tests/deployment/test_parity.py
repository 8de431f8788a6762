"""The prompts that engines are compared on, and when predictions are the same, or as good."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qa_assets.core.examples import Budget, Example, Prediction
from qa_assets.deployment import parity
from qa_assets.models.task_model import PredictOptions
from qa_assets.models.tokens import SPIECE, PieceCounter
from qa_assets_tests.deployment.conftest import QA, UNUSED_IDS

EXAMPLES = [
    Example(
        id=str(number),
        group=f"Article {number % 9}",
        inputs={
            "question": f"Who wrote program {number}?",
            "context": f"Ada Lovelace wrote program {number} in 1843.",
        },
        references=["Ada Lovelace"] if number % 3 else [],
    )
    for number in range(60)
]


@pytest.fixture
def budget(model_dir: Path) -> Budget:
    return Budget(PieceCounter(model_dir / SPIECE), 256, 64)


def test_cases_of_every_kind(budget: Budget) -> None:
    cases = parity.cases(QA, EXAMPLES, 100, budget)
    kinds = [case.kind for case in cases]
    assert kinds.count("as given") == 60
    assert kinds.count("abstention") == 40
    assert kinds.count("empty") == 2
    assert kinds.count("Unicode") == 5
    assert kinds.count("long") > 15
    assert cases[0].source == QA.prompts(EXAMPLES[0])[0].source
    tokens = budget.count([case.source for case in cases if case.kind == "long"])
    assert sum(tokens) > 5_000
    assert max(tokens) < 256
    assert {str(case.example.references) for case in cases if case.kind == "abstention"} == {"()"}
    assert {case.kind for case in cases if case.scored} == {"as given", "abstention"}


def test_comparison_lists_what_differs(model_dir: Path, budget: Budget, tmp_path: Path) -> None:
    asked = parity.cases(QA, EXAMPLES, 60, budget)
    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    settings = json.loads((model / "generation_config.json").read_text())
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    # transformers has no text for these ids
    settings["suppress_tokens"] = list(range(vocabulary - UNUSED_IDS, vocabulary))
    (model / "generation_config.json").write_text(json.dumps(settings))
    options = PredictOptions(max_new_tokens=4, batch_size=16, precision="auto")
    parity.expect(model, QA, asked, tmp_path, options)
    cases = parity.expected(tmp_path)
    assert [case.source for case in cases] == [case.source for case in asked]
    outputs = [Prediction(case.expected) for case in cases]
    assert len({case.expected for case in cases}) > 3

    same = parity.compare(QA, cases, outputs)
    assert (same.same, same.as_good, same.differing, same.loss) == (True, True, [], 0)
    result = parity.compare(QA, cases, [*outputs[:-1], Prediction("something else")])
    assert result.equal == len(cases) - 1
    assert result.differing == [
        {
            "kind": "long",
            "source": cases[-1].source,
            "transformers": cases[-1].expected,
            "here": "something else",
        }
    ]
    assert not result.same  # 1 of some 80 is more than 0.5 %


def test_outputs_are_resolved_before_they_are_compared(budget: Budget) -> None:
    cases = parity.cases(QA, EXAMPLES[:1], 1, budget)
    outputs = [Prediction(" Unavailable ")] * len(cases)
    assert parity.compare(QA, cases, outputs).equal == len(cases)


def test_a_loss_that_is_sure_is_not_as_good() -> None:
    cases = [
        parity.Case("as given", "", example, scored=True, expected=(*example.references, "")[0])
        for example in EXAMPLES
    ]
    abstaining = parity.compare(QA, cases, [Prediction("")] * len(cases))
    assert abstaining.loss == pytest.approx(100 * 2 / 3)
    assert not abstaining.as_good
    unscored = [replace(case, scored=number == 0) for number, case in enumerate(cases)]
    assert parity.compare(QA, unscored, [Prediction("")] * len(cases)).loss == 0
