"""Smoothing changes the weights, and not what the model computes."""

from pathlib import Path

import pytest

from qa_assets.deployment.quantization.activations import activation_statistics
from qa_assets.deployment.quantization.smoothquant import smooth
from qa_assets.models import base_model
from qa_assets_tests.deployment.conftest import SOURCES


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_logits_stay_the_same(model_dir: Path, alpha: float) -> None:
    import torch

    model, tokenizer = base_model.load(model_dir)
    before, _ = base_model.load(model_dir)
    maxima = activation_statistics(model, tokenizer, SOURCES[:8], max_new_tokens=4).maxima
    linear = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    assert sorted(maxima) == sorted(linear)
    smooth(model, maxima, alpha)

    old = dict(before.named_parameters())
    same = {name for name, now in model.named_parameters() if torch.equal(now, old[name])}
    assert {name.split(".")[-2] for name in same} == {
        "shared",
        "relative_attention_bias",
    }  # all else was scaled
    inputs = tokenizer(SOURCES[8], return_tensors="pt")
    output = torch.tensor([[0, 5, 6, 7]])
    with torch.inference_mode():
        logits = model(**inputs, decoder_input_ids=output).logits
        expected = before(**inputs, decoder_input_ids=output).logits
    assert logits.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_maxima_of_folded_inputs_become_equal(model_dir: Path) -> None:
    """At alpha 1 every channel of every folded input has the same largest magnitude."""
    model, tokenizer = base_model.load(model_dir)
    maxima = activation_statistics(model, tokenizer, SOURCES[:8], max_new_tokens=4).maxima
    smooth(model, maxima, alpha=1.0)
    after = activation_statistics(model, tokenizer, SOURCES[:8], max_new_tokens=4).maxima
    name = "encoder.block.1.layer.1.DenseReluDense.wo"
    assert maxima[name].max() / maxima[name].min() > 2
    assert after[name].numpy() == pytest.approx(1.0, abs=1e-3)


def test_xtx_of_the_smoothed_model_follows_from_its_scales(model_dir: Path) -> None:
    """So that the statistics are collected once for all alphas."""
    model, tokenizer = base_model.load(model_dir)
    before = activation_statistics(model, tokenizer, SOURCES[:4], max_new_tokens=4).xtx
    scales = smooth(
        model, activation_statistics(model, tokenizer, SOURCES[:4], max_new_tokens=4).maxima, 0.7
    )
    after = activation_statistics(model, tokenizer, SOURCES[:4], max_new_tokens=4).xtx
    assert scales.keys() == after.keys()
    for name, xtx in after.items():
        expected = before[name] / scales[name].outer(scales[name])
        size = float(expected.diagonal().mean())
        assert xtx.numpy() / size == pytest.approx(expected.numpy() / size, abs=1e-3)
