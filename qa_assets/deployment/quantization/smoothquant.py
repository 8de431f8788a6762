"""SmoothQuant for T5: moves activation outliers into weights, with the same outputs.

Xiao et al., 2022 (arXiv:2211.10438): each input channel of a linear layer is divided by s, and the
layer's weights for that channel are multiplied by s:

    s = max|input|^alpha / max|weight|^(1 - alpha)

The division is folded into the producer of the input. In T5 that is the weight of a norm, or the
rows of another linear layer: the input of `o` comes from `v`, since attention mixes positions and
not channels, and the input of `wo` is a product with the output of `wi_1`. The `k` and `v` of the
cross-attention of all decoder layers read the encoder's last norm, and share one s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

_SMALLEST = 1e-5


@dataclass(frozen=True)
class _Fold:
    """Linear layers with the same input, and its producer, which is scaled along its first axis."""

    consumers: list[str]
    producer: str


def smooth(
    model: PreTrainedModel, maxima: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """Scale weights in place; outputs stay the same but for rounding errors.

    Args:
        model: a T5 with gated feed-forward layers, in full precision.
        maxima: see `ActivationStatistics`.
        alpha: migration strength, from 0 to 1: 1 moves all outliers into the weights.

    Returns:
        By name of a linear layer the divisors s of its input channels, of shape [channels].
    """
    modules: dict[str, Any] = dict(model.named_modules())
    scales: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for fold in _folds(model):
            layers = [modules[name] for name in fold.consumers]
            inputs = torch.stack([maxima[name] for name in fold.consumers]).amax(0)
            weights = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0)
            scale = inputs.clamp(min=_SMALLEST) ** alpha
            scale /= weights.clamp(min=_SMALLEST) ** (1 - alpha)
            scale.clamp_(min=_SMALLEST)
            for layer in layers:
                layer.weight *= scale
            producer = modules[fold.producer].weight
            producer /= scale if producer.dim() == 1 else scale[:, None]
            scales |= dict.fromkeys(fold.consumers, scale)
    return scales


def _folds(model: PreTrainedModel) -> Iterator[_Fold]:
    config: Any = model.config
    for layer in range(config.num_layers):
        block = f"encoder.block.{layer}"
        yield from _attention(f"{block}.layer.0", "SelfAttention", "qkv")
        yield from _feed_forward(f"{block}.layer.1")
    cross = []
    for layer in range(config.num_decoder_layers):
        block = f"decoder.block.{layer}"
        yield from _attention(f"{block}.layer.0", "SelfAttention", "qkv")
        yield from _attention(f"{block}.layer.1", "EncDecAttention", "q")
        yield from _feed_forward(f"{block}.layer.2")
        cross += [f"{block}.layer.1.EncDecAttention.{name}" for name in "kv"]
    yield _Fold(cross, "encoder.final_layer_norm")
    if not config.tie_word_embeddings:
        yield _Fold(["lm_head"], "decoder.final_layer_norm")


def _attention(layer: str, kind: str, after_norm: str) -> Iterator[_Fold]:
    yield _Fold([f"{layer}.{kind}.{name}" for name in after_norm], f"{layer}.layer_norm")
    yield _Fold([f"{layer}.{kind}.o"], f"{layer}.{kind}.v")


def _feed_forward(layer: str) -> Iterator[_Fold]:
    dense = f"{layer}.DenseReluDense"
    yield _Fold([f"{dense}.wi_0", f"{dense}.wi_1"], f"{layer}.layer_norm")
    yield _Fold([f"{dense}.wo"], f"{dense}.wi_1")
