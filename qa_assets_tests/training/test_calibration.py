"""A calibrated model abstains as was predicted."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from qa_assets.models import base_model, decoding
from qa_assets.training import calibration, features
from qa_assets.training.features import Row
from qa_assets_tests.training_fixtures import CONFIG, NULL_TEXT


def exact(answer: str, references: Sequence[str]) -> float:
    return float(answer in references if references else answer == "")


def test_calibrated_model_abstains_as_predicted(
    babbler: Path, rows: list[Row], tmp_path: Path
) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(babbler, model_dir)
    model, tokenizer = base_model.load(model_dir)
    sources = [row["source"] for row in rows[:60]]
    titled = [row | {"title": f"article {n // 6}"} for n, row in enumerate(rows[:60])]
    result = calibration.calibrate(
        model, tokenizer, titled, config=CONFIG, null_text=NULL_TEXT, score_each=exact
    )
    # a third of the questions have no answer
    assert result.f1_after > result.f1_before
    assert result.bias > 0
    assert len(result.folds) == 5
    assert sum(fold.rows for fold in result.folds) == 60
    assert result.held_out["gain"] <= result.f1_after - result.f1_before
    assert result.risk_coverage[-1]["coverage"] == 1
    calibration.apply(model_dir, result)
    written = json.loads((model_dir / calibration.FILE).read_text())
    assert written == json.loads(json.dumps(asdict(result)))

    model, tokenizer = base_model.load(model_dir)
    texts = decoding.generate(
        model,
        tokenizer,
        sources,
        max_new_tokens=1,
        batch_size=16,
        precision="fp32",
    )
    assert texts.count(NULL_TEXT) == result.abstained_after > 0


def test_a_question_in_windows_abstains_where_all_of_them_do(
    babbler: Path, rows: list[Row]
) -> None:
    model, tokenizer = base_model.load(babbler)
    token = calibration.null_token(tokenizer, NULL_TEXT)
    config = CONFIG.model_copy(update={"max_source_tokens": 30, "window_overlap_tokens": 8})
    sources = [row["source"] for row in rows[:30]]
    encoded = features.encode_sources(sources, tokenizer, 30, 8)
    assert sum(map(len, encoded)) > 50
    margins, _ = calibration.decode_apart(model, tokenizer, sources, config=config, token=token)
    for bias in (-sorted(margins)[10] + 1e-3, -sorted(margins)[20] + 1e-3):
        model.generation_config.sequence_bias = [[[token], bias]]
        options = config.answering | {"max_new_tokens": 1}
        said, _ = decoding.answer(model, tokenizer, sources, NULL_TEXT, **options)
        assert [not text for text in said] == [margin + bias > 0 for margin in margins]
        assert 5 < said.count("") < 25


def test_gain_that_does_not_hold_elsewhere_is_not_taken(babbler: Path, rows: list[Row]) -> None:
    """In one article nothing has an answer, in the other all does: each wants the other's worst."""
    model, tokenizer = base_model.load(babbler)
    token = calibration.null_token(tokenizer, NULL_TEXT)
    sources = [row["source"] for row in rows[:40]]
    _, answers = calibration.decode_apart(model, tokenizer, sources, config=CONFIG, token=token)
    titled = [
        {
            "source": source,
            "title": "nothing" if number % 2 else "all",
            "references": [] if number % 2 else [answer],
        }
        for number, (source, answer) in enumerate(zip(sources, answers, strict=True))
    ]
    result = calibration.calibrate(
        model, tokenizer, titled, config=CONFIG, null_text=NULL_TEXT, score_each=exact
    )
    assert result.held_out["gain"] < 0
    assert result.bias == 0
    assert result.f1_after == result.f1_before


@pytest.mark.parametrize("bias", [1.5, 0.0])
def test_bias_is_where_transformers_looks_for_it(base: Path, tmp_path: Path, bias: float) -> None:
    model_dir = tmp_path / "model"
    shutil.copytree(base, model_dir)
    before = json.loads((model_dir / "generation_config.json").read_text())
    for one in (9.0, bias):
        calibration.apply(model_dir, _calibration(one))
    settings = json.loads((model_dir / "generation_config.json").read_text())
    assert settings == before | ({"sequence_bias": [[[3], 1.5]]} if bias else {})


def _calibration(bias: float) -> calibration.Calibration:
    return calibration.Calibration(
        bias, 1, 1, 1, 1, 1, 1, NULL_TEXT, 3, held_out={}, folds=[], risk_coverage=[]
    )


def test_null_text_of_several_tokens_is_refused(base: Path) -> None:
    _, tokenizer = base_model.load(base)
    with pytest.raises(calibration.CalibrationError, match="QA_ASSETS_DATA_NO_ANSWER.*tokens"):
        calibration.null_token(tokenizer, "no answer here")
