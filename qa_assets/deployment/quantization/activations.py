"""Activation statistics of linear layers, for SmoothQuant (maxima) and GPTQ (XtX)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ActivationStatistics:
    """Statistics of the inputs X [tokens, channels] of linear layers, by the layer's name.

    Attributes:
        maxima: largest magnitude of each channel, of shape [channels].
        xtx: X'X, of shape [channels, channels].
    """

    maxima: dict[str, torch.Tensor]
    xtx: dict[str, torch.Tensor]


def activation_statistics(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    *,
    max_new_tokens: int,
) -> ActivationStatistics:
    """Decode sources like those that will be served, and collect the inputs of linear layers."""
    statistics = ActivationStatistics({}, {})

    def update(name: str, inputs: torch.Tensor) -> None:
        rows = inputs.detach().flatten(0, -2)
        maxima = rows.abs().amax(0)
        statistics.maxima[name] = torch.maximum(statistics.maxima.get(name, maxima), maxima)
        statistics.xtx.setdefault(name, rows.new_zeros(rows.shape[1], rows.shape[1]))
        statistics.xtx[name].addmm_(rows.T, rows)

    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: update(name, inputs[0]))
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    try:
        with torch.inference_mode():
            for source in sources:
                inputs = tokenizer(source, return_tensors="pt", verbose=False)
                model.generate(**inputs, max_new_tokens=max_new_tokens, num_beams=1)
    finally:
        for hook in hooks:
            hook.remove()
    return statistics
