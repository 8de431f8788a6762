"""Smoothing changes the weights, and not what the model computes."""

from pathlib import Path

import pytest

from qa_assets.deployment.quantization.activations import linear_inputs
from qa_assets.deployment.quantization.smoothquant import smooth
from qa_assets.models import base_model
from qa_assets_tests.deployment.conftest import SOURCES


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_logits_stay_the_same(model_dir: Path, alpha: float) -> None:
    import torch

    model, tokenizer = base_model.load(model_dir)
    before, _ = base_model.load(model_dir)
    maxima = linear_inputs(model, tokenizer, SOURCES[:8], max_new_tokens=4).maxima
    linear = [name for name, one in model.named_modules() if isinstance(one, torch.nn.Linear)]
    assert sorted(maxima) == sorted(linear)
    smooth(model, maxima, alpha)

    old = dict(before.named_parameters())
    same = {name for name, one in model.named_parameters() if torch.equal(one, old[name])}
    assert {name.split(".")[-2] for name in same} == {
        "shared",
        "relative_attention_bias",
    }  # all else was scaled
    inputs = tokenizer(SOURCES[8], return_tensors="pt")
    said = torch.tensor([[0, 5, 6, 7]])
    with torch.inference_mode():
        logits = model(**inputs, decoder_input_ids=said).logits
        expected = before(**inputs, decoder_input_ids=said).logits
    assert logits.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_ranges_come_closer(model_dir: Path) -> None:
    """At alpha 1 every channel of every input that is folded has the same largest magnitude."""
    model, tokenizer = base_model.load(model_dir)
    maxima = linear_inputs(model, tokenizer, SOURCES[:8], max_new_tokens=4).maxima
    smooth(model, maxima, alpha=1.0)
    after = linear_inputs(model, tokenizer, SOURCES[:8], max_new_tokens=4).maxima
    name = "encoder.block.1.layer.1.DenseReluDense.wo"
    assert maxima[name].max() / maxima[name].min() > 2
    assert after[name].numpy() == pytest.approx(1.0, abs=1e-3)


def test_moments_of_the_smoothed_model_are_had_by_its_scales(model_dir: Path) -> None:
    """So that one look at the inputs does for every alpha."""
    model, tokenizer = base_model.load(model_dir)
    before = linear_inputs(model, tokenizer, SOURCES[:4], max_new_tokens=4).moments
    scales = smooth(
        model, linear_inputs(model, tokenizer, SOURCES[:4], max_new_tokens=4).maxima, 0.7
    )
    after = linear_inputs(model, tokenizer, SOURCES[:4], max_new_tokens=4).moments
    assert scales.keys() == after.keys()
    for name, moment in after.items():
        expected = before[name] / scales[name].outer(scales[name])
        size = float(expected.diagonal().mean())
        assert moment.numpy() / size == pytest.approx(expected.numpy() / size, abs=1e-3)
