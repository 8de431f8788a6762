"""SmoothQuant for T5: makes activations easy to quantise, without changing what a model computes.

Xiao et al., 2022 (arXiv:2211.10438): a channel of a linear layer's input is divided by s and the
layer's weights for it are multiplied by s, where

    s = max|input|^alpha / max|weight|^(1 - alpha)

The division is folded into what makes the input. In T5 that is a norm's weight, or the rows of
another linear layer: `o` reads the values of attention, which mixes positions and not channels, and
`wo` reads a product with the output of `wi_1`. The keys and values of all decoder layers read the
encoder's last norm, so they share one s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_SMALLEST = 1e-5


@dataclass(frozen=True)
class _Fold:
    """Linear layers that read the same input, and what makes it: scaled along its first axis."""

    readers: list[str]
    maker: str


def smooth(
    model: "PreTrainedModel", maxima: "Mapping[str, torch.Tensor]", alpha: float
) -> "dict[str, torch.Tensor]":
    """Fold in place; the model computes what it did, but for rounding.

    Args:
        model: a T5 with gated feed-forward layers, in full precision.
        maxima: of `calibration.Inputs`.
        alpha: how much of the difficulty moves from activations to weights, from 0 to 1.

    Returns:
        By name of a linear layer what the channels of its input are divided by, of shape [inputs].
    """
    import torch

    modules: dict[str, Any] = dict(model.named_modules())
    scales: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for fold in _folds(model):
            readers = [modules[name] for name in fold.readers]
            inputs = torch.stack([maxima[name] for name in fold.readers]).amax(0)
            weights = torch.stack([layer.weight.abs().amax(0) for layer in readers]).amax(0)
            scale = inputs.clamp(min=_SMALLEST) ** alpha
            scale /= weights.clamp(min=_SMALLEST) ** (1 - alpha)
            scale.clamp_(min=_SMALLEST)
            for layer in readers:
                layer.weight *= scale
            made = modules[fold.maker].weight
            made /= scale if made.dim() == 1 else scale[:, None]
            scales |= dict.fromkeys(fold.readers, scale)
    return scales


def _folds(model: "PreTrainedModel") -> Iterator[_Fold]:
    config: Any = model.config
    for layer in range(config.num_layers):
        block = f"encoder.block.{layer}"
        yield from _attention(f"{block}.layer.0", "SelfAttention", "qkv")
        yield from _feed_forward(f"{block}.layer.1")
    crosses = []
    for layer in range(config.num_decoder_layers):
        block = f"decoder.block.{layer}"
        yield from _attention(f"{block}.layer.0", "SelfAttention", "qkv")
        yield from _attention(f"{block}.layer.1", "EncDecAttention", "q")
        yield from _feed_forward(f"{block}.layer.2")
        crosses += [f"{block}.layer.1.EncDecAttention.{name}" for name in "kv"]
    yield _Fold(crosses, "encoder.final_layer_norm")
    if not config.tie_word_embeddings:
        yield _Fold(["lm_head"], "decoder.final_layer_norm")


def _attention(layer: str, kind: str, read_norm: str) -> Iterator[_Fold]:
    yield _Fold([f"{layer}.{kind}.{name}" for name in read_norm], f"{layer}.layer_norm")
    yield _Fold([f"{layer}.{kind}.o"], f"{layer}.{kind}.v")


def _feed_forward(layer: str) -> Iterator[_Fold]:
    dense = f"{layer}.DenseReluDense"
    yield _Fold([f"{dense}.wi_0", f"{dense}.wi_1"], f"{layer}.layer_norm")
    yield _Fold([f"{dense}.wo"], f"{dense}.wi_1")
