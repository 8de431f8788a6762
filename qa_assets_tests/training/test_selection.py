"""From trials to a candidate, and what its calibration is worth."""

from pathlib import Path

import pytest

from qa_assets.models import base_model
from qa_assets.tasks.question_answering import metric
from qa_assets.training import calibration, selection
from qa_assets.training.features import Row
from qa_assets_tests.training_fixtures import CONFIG, NULL_TEXT

# a babbler does not end after the word that abstains
_CONFIG = CONFIG.model_copy(update={"max_target_tokens": 1})


@pytest.mark.parametrize("bias", [500.0, -500.0])
def test_answers_without_the_bias_are_those_of_the_uncalibrated(
    babbler: Path, rows: list[Row], tmp_path: Path, bias: float
) -> None:
    import torch

    sources = [row["source"] for row in rows[:40]]
    model, tokenizer = base_model.load(babbler)
    token = calibration.null_token(tokenizer, NULL_TEXT)
    with torch.no_grad():  # it abstains on some of them now
        model.lm_head.weight[token] *= 20
    path = base_model.save(model, tokenizer, tmp_path / "model")
    plain = selection.answers(path, sources, _CONFIG, NULL_TEXT)
    assert 0 < plain.count("") < len(plain)
    assert selection.uncalibrated_answers(path, sources, plain, _CONFIG, NULL_TEXT) == plain

    calibration.apply(path, made_up(bias, token))
    calibrated = selection.answers(path, sources, _CONFIG, NULL_TEXT)
    assert calibrated.count("") == (len(sources) if bias > 0 else 0)
    without = selection.uncalibrated_answers(path, sources, calibrated, _CONFIG, NULL_TEXT)
    assert without == plain


def made_up(bias: float, token: int) -> calibration.Calibration:
    return calibration.Calibration(
        bias, 1, 1, 1, 1, 1, 1, NULL_TEXT, token, held_out={}, folds=[], risk_coverage=[]
    )


def test_best_trial_is_chosen_and_scored_as_it_will_answer(
    babbler: Path, base: Path, rows: list[Row], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    titled = [{**row, "title": f"article {n // 6}"} for n, row in enumerate(rows[:48])]
    chosen = selection.select(
        [selection.Trained("worse", base, 1.0), selection.Trained("better", babbler, 2.0)],
        base, titled, out,
        config=_CONFIG, null_text=NULL_TEXT, score=metric.score, score_each=metric.f1_each,
    )  # fmt: skip
    assert chosen.chosen == "better"
    sources, references = zip(
        *((row["source"], row["references"]) for row in rows[:48]), strict=True
    )
    told = selection.answers(out, sources, _CONFIG, NULL_TEXT)
    assert metric.score(told, references) == chosen.valid
    assert chosen.valid["f1"] == pytest.approx(chosen.calibration.f1_after)
    assert told.count("") == chosen.calibration.abstained_after
