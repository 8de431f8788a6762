"""Encoder-decoders that are no T5, from the base model to the calibrated candidate."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from qa_assets.core.examples import Example, read_examples
from qa_assets.models import base_model
from qa_assets.models.any_model import predict_any
from qa_assets.models.loading import load
from qa_assets.models.seq2seq import Seq2Seq
from qa_assets.training import selection
from qa_assets_tests.models.tiny_seq2seq import ARCHITECTURES, POSITIONS, babbler, create
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
    model, tokenizer = babbler(result.checkpoint)  # in so few steps it learns one output for all
    if architecture != "mt5":
        model.final_logits_bias[0, :4] = -50  # and no special tokens
    path = base_model.save(model, tokenizer, tmp_path / "trained")
    trained = selection.Trained("trial", path, result.metrics["f1"])
    selected = selection.select([trained], base, TASK, valid, out, CONFIG)
    assert selected.calibration is not None
    # one word: a babbler does not end after the word that abstains
    options = replace(CONFIG.predict_options, max_new_tokens=1 if architecture == "mt5" else 3)
    margins, _ = load(out, TASK).abstention_margins(valid, options)
    assert len(set(margins)) > 5
    between = [sum(pair) / 2 for pair in pairwise(sorted(margins))]
    for bias in (-between[9], -between[18]):
        Seq2Seq.set_abstention_bias(out, TASK, bias)
        predictions = load(out, TASK).predict(valid, options)
        expected = [margin + bias > 0 for margin in margins]
        assert [prediction.text == "" for prediction in predictions] == expected
        assert 5 < sum(expected) < 25
        assert all(0 <= (prediction.confidence or 0) <= 1 for prediction in predictions)
    assert len(predict_any(out, TASK, valid)) == len(valid)


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
