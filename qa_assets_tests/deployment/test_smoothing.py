"""Smoothing changes the weights, and not what the model computes."""

from pathlib import Path

import pytest

from qa_assets.deployment.smoothing import activation_maxima, smooth
from qa_assets.training import base_model
from qa_assets_tests.deployment.conftest import SOURCES


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_logits_stay_the_same(model_dir: Path, alpha: float) -> None:
    import torch

    model, tokenizer = base_model.load(model_dir)
    before, _ = base_model.load(model_dir)
    maxima = activation_maxima(model, tokenizer, SOURCES[:8], max_new_tokens=4)
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
    maxima = activation_maxima(model, tokenizer, SOURCES[:8], max_new_tokens=4)
    smooth(model, maxima, alpha=1.0)
    after = activation_maxima(model, tokenizer, SOURCES[:8], max_new_tokens=4)
    name = "encoder.block.1.layer.1.DenseReluDense.wo"
    assert maxima[name].max() / maxima[name].min() > 2
    assert after[name].numpy() == pytest.approx(1.0, abs=1e-3)
