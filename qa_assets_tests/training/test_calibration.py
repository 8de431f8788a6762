"""A calibrated model abstains as was predicted."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from qa_assets.core.examples import Example, Prediction, Scores
from qa_assets.models import base_model
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training import calibration
from qa_assets_tests.training_fixtures import CONFIG, TASK, sources

OPTIONS = CONFIG.predict_options


class Exact(QuestionAnswering):
    """Counts a prediction as right or wrong, and nothing between."""

    def score(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Scores:
        """Figures and rows."""
        rows = [
            float(
                prediction.text in example.references if example.references else not prediction.text
            )
            for example, prediction in zip(examples, predictions, strict=True)
        ]
        return Scores({"f1": 100 * sum(rows) / len(rows)}, {"f1": rows})


class NeverAbstains(QuestionAnswering):
    """Has an answer to every question."""

    @property
    def abstention(self) -> None:  # type: ignore[override]
        """None."""


EXACT = Exact()


def test_calibrated_model_abstains_as_predicted(
    babbler: Path, examples: list[Example], tmp_path: Path
) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(babbler, model_dir)
    model, tokenizer = base_model.load(model_dir)
    grouped = [replace(example, group=f"{n // 6}") for n, example in enumerate(examples[:60])]
    result = calibration.calibrate(Seq2Seq(model, tokenizer, EXACT), grouped, OPTIONS)
    assert result is not None
    # a third of the questions have no answer
    assert result.f1_after > result.f1_before
    assert result.bias > 0
    assert len(result.folds) == 5
    assert sum(fold.rows for fold in result.folds) == 60
    assert result.held_out["gain"] <= result.f1_after - result.f1_before
    assert result.risk_coverage[-1]["coverage"] == 1
    calibration.apply(model_dir, TASK, result)
    written = json.loads((model_dir / base_model.CALIBRATION).read_text())
    assert written == json.loads(json.dumps(asdict(result)))
    assert written["null_text"] == TASK.abstention

    model, tokenizer = base_model.load(model_dir)
    outputs = Seq2Seq(model, tokenizer, TASK).outputs(
        sources(grouped), replace(OPTIONS, max_new_tokens=1)
    )
    texts = [output.text for output in outputs]
    assert texts.count(TASK.abstention) == result.abstained_after > 0


def test_gain_that_does_not_hold_elsewhere_is_not_taken(
    babbler: Path, examples: list[Example]
) -> None:
    """In one group nothing has an answer, in the other all does: each wants the other's worst."""
    model, tokenizer = base_model.load(babbler)
    _, predictions = Seq2Seq(model, tokenizer, TASK).abstention_margins(examples[:40], OPTIONS)
    grouped = [
        replace(
            example,
            group="nothing" if number % 2 else "all",
            references=[] if number % 2 else [prediction.text],
        )
        for number, (example, prediction) in enumerate(zip(examples[:40], predictions, strict=True))
    ]
    result = calibration.calibrate(Seq2Seq(model, tokenizer, EXACT), grouped, OPTIONS)
    assert result is not None
    assert result.held_out["gain"] < 0
    assert result.bias == 0
    assert result.f1_after == result.f1_before


@pytest.mark.parametrize("bias", [1.5, 0.0])
def test_another_calibration_is_replaced(base: Path, tmp_path: Path, bias: float) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(base, model_dir)
    before = json.loads((model_dir / "generation_config.json").read_text())
    token = Seq2Seq.abstention_id(base_model.load_tokenizer(base), TASK)
    for value in (9.0, bias):
        calibration.apply(model_dir, TASK, _calibration(value, token))
    settings = json.loads((model_dir / "generation_config.json").read_text())
    assert settings == before | ({"sequence_bias": [[[token], 1.5]]} if bias else {})
    assert json.loads((model_dir / base_model.CALIBRATION).read_text())["bias"] == bias


def _calibration(bias: float, token: int) -> calibration.Calibration:
    return calibration.Calibration(
        bias, 1, 1, 1, 1, 1, 1, TASK.abstention, token, held_out={}, folds=[], risk_coverage=[]
    )


def test_a_task_that_never_abstains_has_no_calibration(
    base: Path, examples: list[Example], tmp_path: Path
) -> None:
    model, tokenizer = base_model.load(base)
    never = Seq2Seq(model, tokenizer, NeverAbstains())
    assert calibration.calibrate(never, examples, OPTIONS) is None
    calibration.apply(tmp_path, never.task, None)
    assert not list(tmp_path.iterdir())
