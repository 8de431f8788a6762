"""The weights of a T5 for decoding: oneDNN-prepacked on a CPU, in the dtype to compute in.

What is computed with them is in `inference`.
"""

from typing import Any

# only decoding imports this module
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253


def weight_of(module: Any) -> Tensor:
    """The matrix that a linear layer multiplies by, adapters and quantisation included."""
    if type(module) is nn.Linear:
        return module.weight.detach()
    eye = torch.eye(module.in_features, device=module.weight.device)
    return (module(eye) - module(torch.zeros_like(eye[:1]))).detach().float().T.contiguous()


_ONE_DNN = torch.ops.mkldnn


class Product:
    """A linear layer without bias, its activation fused into it.

    On a CPU it is oneDNN's, with prepacked weights. torch would use oneDNN for bf16 only, pack the
    weights for each product, and pass over the result again for the activation.
    """

    def __init__(self, weight: Tensor) -> None:
        self.packed = (
            weight.device.type == "cpu"
            and torch.backends.mkldnn.is_available()
            # in bf16 oneDNN packs weights only on CPUs with AVX-512 or AVX-NE-CONVERT
            and (weight.dtype != torch.bfloat16 or _ONE_DNN._is_mkldnn_bf16_supported())  # noqa: SLF001
        )
        self.weight = _ONE_DNN._reorder_linear_weight(weight) if self.packed else weight  # noqa: SLF001

    def __call__(self, values: Tensor, activation: str = "none") -> Tensor:
        """The layer's output, after `gelu` or `relu` if so named."""
        if self.packed:
            approximation = "tanh" if activation == "gelu" else ""
            return _ONE_DNN._linear_pointwise(  # noqa: SLF001
                values, self.weight, None, activation, [], approximation
            )
        product = functional.linear(values, self.weight)
        if activation == "gelu":
            product = functional.gelu(product, approximate="tanh")
        return product.relu() if activation == "relu" else product


class Norm:
    """T5's norm, computed in fp32; the result is in the dtype to compute in."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self.weight, self.epsilon = module.weight.detach(), module.variance_epsilon
        self.dtype = dtype

    def __call__(self, hidden: Tensor) -> Tensor:
        """Values of the same shape, normalised over their last axis."""
        normed = functional.rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)
        return normed.to(self.dtype)


class Block:
    """The weights of a block: self-attention, in the decoder cross-attention, feed-forward."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        def product(module: Any, *names: str) -> Product:
            return Product(
                torch.cat([weight_of(getattr(module, name)) for name in names]).to(dtype)
            )

        first, *cross, last = block.layer
        self.self_norm = Norm(first.layer_norm, dtype)
        self.self_in = product(first.SelfAttention, "q", "k", "v")
        self.self_out = product(first.SelfAttention, "o")
        for layer in cross:
            attention = layer.EncDecAttention
            heads = (attention.n_heads, -1)
            self.cross_norm = Norm(layer.layer_norm, dtype)
            self.cross_query = product(attention, "q")
            self.cross_keys = weight_of(attention.k).unflatten(0, heads)
            values = weight_of(attention.v).unflatten(0, heads)
            self.cross_values = values.transpose(1, 2).contiguous()
            self.cross_out = product(attention, "o")
        dense = last.DenseReluDense
        gated = hasattr(dense, "wi_0")
        self.feed_norm = Norm(last.layer_norm, dtype)
        self.feed_in = product(dense, "wi_0" if gated else "wi")
        self.feed_gate = product(dense, "wi_1") if gated else None
        self.feed_out = product(dense, "wo")


class Stack:
    """An encoder or a decoder; its result is in fp32."""

    def __init__(self, stack: Any, dtype: torch.dtype) -> None:
        self.blocks = [Block(block, dtype) for block in stack.block]
        self.norm = Norm(stack.final_layer_norm, torch.float32)
        self._bias = stack.block[0].layer[0].SelfAttention.compute_bias
        self._relative = torch.empty(0)

    def relative(self, length: int) -> Tensor:
        """The relative position bias, of shape [1, heads, length, length], in fp32."""
        if self._relative.shape[-1] != length:
            self._relative = self._bias(length, length)
        return self._relative
