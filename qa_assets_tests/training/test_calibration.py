"""The bias of the abstention."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_assets.training import base_model, calibration, generation
from qa_assets.training.features import Row
from qa_assets_tests.training.conftest import CONFIG, NULL_TEXT

SCORES = st.sampled_from([0.0, 0.5, 1.0])
ROWS = st.lists(
    st.tuples(st.integers(-8, 8).map(lambda n: n / 4), SCORES, SCORES), min_size=1, max_size=12
)


def exact(answer: str, references: Sequence[str]) -> float:
    return float(answer in references if references else answer == "")


def mean_score(rows: list[tuple[float, float, float]], bias: float) -> float:
    return sum(null if margin + bias > 0 else answer for margin, answer, null in rows) / len(rows)


@given(ROWS)
def test_sweep_finds_what_trying_every_bias_finds(rows: list[tuple[float, float, float]]) -> None:
    margins, answered, abstained = zip(*rows, strict=True)
    bias, before, after = calibration.sweep(margins, answered, abstained)
    tried = [step / 8 for step in range(-40, 41)]  # between and beyond all margins
    best = max(mean_score(rows, one) for one in tried)
    assert after == pytest.approx(best)
    assert mean_score(rows, bias) == pytest.approx(after)
    assert before == pytest.approx(mean_score(rows, 0.0))
    if before == pytest.approx(best):
        assert bias == 0


def test_sweep_takes_the_nearest_of_equals() -> None:
    bias, before, after = calibration.sweep([0.5, -0.25, -3.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0])
    assert [bias, before, after] == pytest.approx([4.0, 0.0, 2 / 3])
    bias, _, after = calibration.sweep([0.5, -9.0], [1.0, 0.0], [0.0, 1.0])
    assert [bias, after] == pytest.approx([-1.5, 0.5])


def test_calibrated_model_abstains_as_predicted(
    babbler: Path, rows: list[Row], tmp_path: Path
) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(babbler, model_dir)
    model, tokenizer = base_model.load(model_dir)
    rows = rows[:60]
    result = calibration.calibrate(
        model, tokenizer, rows, config=CONFIG, null_text=NULL_TEXT, score_each=exact
    )
    # a third of the questions have no answer
    assert result.f1_after > result.f1_before
    assert result.bias > 0
    calibration.apply(model_dir, result)
    assert calibration.read_bias(model_dir) == result.bias

    model, tokenizer = base_model.load(model_dir)
    texts = generation.generate(
        model,
        tokenizer,
        [row["source"] for row in rows],
        max_new_tokens=1,
        batch_size=16,
        precision="fp32",
    )
    assert texts.count(NULL_TEXT) == result.abstained_after > 0


def test_no_bias_leaves_no_trace(base: Path, tmp_path: Path) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(base, model_dir)
    before = json.loads((model_dir / "generation_config.json").read_text())
    for bias in (1.5, 0.0):
        calibration.apply(model_dir, calibration.Calibration(bias, 1, 1, 1, 1, 1, NULL_TEXT, 3))
        settings = json.loads((model_dir / "generation_config.json").read_text())
        assert settings == before | ({"sequence_bias": [[[3], 1.5]]} if bias else {})
    assert json.loads((model_dir / calibration.FILE).read_text())["null_text"] == NULL_TEXT


def test_null_text_of_several_tokens_is_refused(base: Path) -> None:
    _, tokenizer = base_model.load(base)
    with pytest.raises(calibration.CalibrationError, match="QA_ASSETS_DATA_NO_ANSWER.*tokens"):
        calibration.null_token(tokenizer, "no answer here")
