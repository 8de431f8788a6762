"""Encoder-decoders that are no T5, from the base model to the calibrated candidate."""

from pathlib import Path

import pytest

from qa_assets.core.examples import Example, read_examples
from qa_assets.models import base_model
from qa_assets.models.any_model import predict_any
from qa_assets.models.family import family
from qa_assets.training import selection
from qa_assets_tests.models.tiny_seq2seq import ARCHITECTURES, POSITIONS, create
from qa_assets_tests.training.test_trainer import train
from qa_assets_tests.training_fixtures import CONFIG, TASK, texts


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_trains_selects_and_abstains(
    architecture: str, examples: list[Example], data: Path, tmp_path: Path
) -> None:
    base = create(architecture, texts(examples), tmp_path / "base")
    result = train(base, data, tmp_path / "out", {"learning_rate": 3e-3})
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    out = tmp_path / "model"
    out.mkdir()
    valid = read_examples(data / "valid")
    trained = selection.Trained("trial", result.checkpoint, result.metrics["f1"])
    selected = selection.select([trained], base, TASK, valid, out, CONFIG)
    assert selected.calibration is not None
    model, tokenizer = base_model.load(out)
    models, options = family("seq2seq"), CONFIG.predict_options
    margins, _ = models.abstention_margins(model, tokenizer, TASK, valid, options)
    assert len(set(margins)) > 5
    for bias in (-sorted(margins)[9] - 1e-3, -sorted(margins)[18] - 1e-3):
        models.set_abstention_bias(out, TASK, bias)
        model, tokenizer = base_model.load(out)
        predictions = models.predict(model, tokenizer, TASK, valid, options)
        expected = [margin + bias > 0 for margin in margins]
        assert [prediction.text == "" for prediction in predictions] == expected
        assert 5 < sum(expected) < 25
        assert all(0 <= (prediction.confidence or 0) <= 1 for prediction in predictions)
    asked = predict_any(out, TASK, valid)
    assert [prediction.text for prediction in asked] == [
        prediction.text for prediction in predictions
    ]


@pytest.mark.parametrize("architecture", ["mt5", "bart"])
def test_adapters_are_merged(
    architecture: str, examples: list[Example], data: Path, tmp_path: Path
) -> None:
    base = create(architecture, texts(examples), tmp_path / "base")
    result = train(base, data, tmp_path / "out", {"epochs": 1, "evaluations": 1, "lora_rank": 4})
    before, after = (base_model.load(path)[0].state_dict() for path in (base, result.checkpoint))
    assert before.keys() == after.keys()


def test_more_tokens_than_positions_are_refused(
    examples: list[Example], data: Path, tmp_path: Path
) -> None:
    base = create("bart", texts(examples), tmp_path / "base")
    with pytest.raises(base_model.BaseModelError, match=f"max_source_tokens=128.*{POSITIONS}"):
        train(base, data, tmp_path / "out", {"max_source_tokens": 128})
