"""GPTQ has less error than plain rounding, and its grid is that of the engines."""

from pathlib import Path

import pytest

from qa_assets.deployment.quantization import gptq
from qa_assets.deployment.quantization.activations import activation_statistics
from qa_assets.models import base_model
from qa_assets_tests.deployment.conftest import SOURCES


def test_outputs_change_less_than_by_plain_rounding() -> None:
    import torch

    torch.manual_seed(1)
    inputs = torch.randn(400, 20) @ torch.randn(20, 200)  # correlated, as activations are
    inputs += 0.05 * torch.randn(400, 200)
    weight = torch.randn(50, 200)
    rounded = gptq.rounded(weight, inputs.T @ inputs)
    step = weight.abs().amax(1, keepdim=True) / 127
    plain = (weight / step).round() * step
    error, plain_error = (float(((new - weight) @ inputs.T).norm()) for new in (rounded, plain))
    assert error < plain_error / 2
    assert torch.allclose(rounded / step, (rounded / step).round(), atol=1e-3)
    assert torch.equal(rounded.abs().amax(1), weight.abs().amax(1))


def test_rows_and_columns_of_zeros() -> None:
    import torch

    weight, inputs = torch.eye(4), torch.zeros(3, 4)
    weight[0] = 0
    assert torch.equal(gptq.rounded(weight, inputs.T @ inputs), weight)


def test_weights_of_all_linear_layers_move_to_the_grid(model_dir: Path) -> None:
    import torch

    model, tokenizer = base_model.load(model_dir)
    before, _ = base_model.load(model_dir)
    xtx = activation_statistics(model, tokenizer, SOURCES[:8], max_new_tokens=4).xtx
    gptq.round_weights(model, xtx)
    old = dict(before.named_parameters())
    linear = {
        f"{name}.weight": layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
    }
    for name, weight in model.named_parameters():
        assert torch.equal(weight, old[name]) == (name not in linear)
    for layer in linear.values():
        step = layer.weight.abs().amax(1, keepdim=True) / 127
        steps = (layer.weight / step).detach()
        assert steps.numpy() == pytest.approx(steps.round().numpy(), abs=1e-3)
