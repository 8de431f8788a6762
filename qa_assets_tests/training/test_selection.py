"""From trials to a candidate, and what its calibration is worth."""

from dataclasses import replace
from pathlib import Path

import pytest

from qa_assets.core.examples import Example, Prediction
from qa_assets.models import base_model
from qa_assets.models.loading import predict
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets.training import calibration, selection
from qa_assets_tests.training_fixtures import CONFIG, TASK

# a babbler does not end after the word that abstains
_CONFIG = CONFIG.model_copy(update={"max_target_tokens": 1})
_OPTIONS = _CONFIG.predict_options


@pytest.mark.parametrize("bias", [500.0, -500.0])
def test_predictions_without_the_bias_are_those_of_the_uncalibrated(
    babbler: Path, examples: list[Example], tmp_path: Path, bias: float
) -> None:
    import torch

    model, tokenizer = base_model.load(babbler)
    token = Seq2Seq.abstention_id(tokenizer, TASK)
    with torch.no_grad():  # it abstains on some of them now
        model.lm_head.weight[token] *= 20
    path = base_model.save(model, tokenizer, tmp_path / "model")
    asked = examples[:40]
    plain = predict(path, TASK, asked, _OPTIONS)
    assert 0 < abstained(plain) < len(plain)
    assert selection.predict_uncalibrated(path, TASK, asked, plain, _OPTIONS) == plain

    calibration.apply(path, TASK, made_up(bias, token))
    calibrated = predict(path, TASK, asked, _OPTIONS)
    assert abstained(calibrated) == (len(asked) if bias > 0 else 0)
    before = sorted(path.iterdir())
    without = selection.predict_uncalibrated(path, TASK, asked, calibrated, _OPTIONS)
    assert [prediction.text for prediction in without] == [prediction.text for prediction in plain]
    assert sorted(path.iterdir()) == before
    assert predict(path, TASK, asked, _OPTIONS) == calibrated


def abstained(predictions: list[Prediction]) -> int:
    return sum(prediction.text == "" for prediction in predictions)


def made_up(bias: float, token: int) -> calibration.Calibration:
    return calibration.Calibration(
        bias, 1, 1, 1, 1, 1, 1, TASK.abstention, token, held_out={}, folds=[], risk_coverage=[]
    )


def test_best_trial_is_chosen_and_scored_as_it_will_answer(
    babbler: Path, base: Path, examples: list[Example], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    grouped = [replace(example, group=f"{n // 6}") for n, example in enumerate(examples[:48])]
    chosen = selection.select(
        [selection.Trained("worse", base, 1.0), selection.Trained("better", babbler, 2.0)],
        base,
        TASK,
        grouped,
        out,
        _CONFIG,
    )
    assert chosen.chosen == "better"
    assert chosen.calibration is not None
    predictions = predict(out, TASK, grouped, _OPTIONS)
    assert TASK.score(grouped, predictions).figures == chosen.valid
    assert chosen.valid["f1"] == pytest.approx(chosen.calibration.f1_after)
    assert abstained(predictions) == chosen.calibration.abstained_after
