"""The weights of a T5 as answering takes them: held once, joined, in the dtype to compute in.

`inference_t5` says what is computed with them.
"""

from typing import Any

# only what answers imports this module
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253


def weight_of(module: Any) -> Tensor:
    """The matrix that a layer without bias multiplies by, adapters and quantisation included."""
    if type(module) is nn.Linear:
        return module.weight.detach()
    eye = torch.eye(module.in_features, device=module.weight.device)
    return module(eye).detach().float().T.contiguous()


_ONE_DNN = torch.ops.mkldnn


class Product:
    """A linear layer without bias.

    On a CPU oneDNN's, with weights in the order that it likes best. torch would take it for bf16
    only, put them in order for each product anew, and go over the result again to activate it.
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
    """T5's norm, in fp32; the result in the dtype to compute in."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self.weight, self.epsilon = module.weight.detach(), module.variance_epsilon
        self.dtype = dtype

    def __call__(self, hidden: Tensor) -> Tensor:
        """Values of the same shape, normed by their last axis."""
        normed = functional.rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)
        return normed.to(self.dtype)


class Block:
    """The weights of a block; those that multiply the same are joined."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        def held(module: Any, *names: str) -> Product:
            return Product(
                torch.cat([weight_of(getattr(module, name)) for name in names]).to(dtype)
            )

        own, *read, last = block.layer
        self.norm = Norm(own.layer_norm, dtype)
        self.own_in = held(own.SelfAttention, "q", "k", "v")
        self.own_out = held(own.SelfAttention, "o")
        for layer in read:
            self.read_norm = Norm(layer.layer_norm, dtype)
            self.read_query = held(layer.EncDecAttention, "q")
            keys, values = layer.EncDecAttention.k, layer.EncDecAttention.v
            heads = (layer.EncDecAttention.n_heads, -1)
            self.read_keys = weight_of(keys).unflatten(0, heads)
            self.read_values = weight_of(values).unflatten(0, heads).transpose(1, 2).contiguous()
            self.read_out = held(layer.EncDecAttention, "o")
        dense = last.DenseReluDense
        self.last_norm = Norm(last.layer_norm, dtype)
        gated = hasattr(dense, "wi_0")
        self.inner = held(dense, "wi_0" if gated else "wi")
        self.gate = held(dense, "wi_1") if gated else None
        self.last = held(dense, "wo")


class Stack:
    """An encoder or a decoder; its result is in fp32."""

    def __init__(self, stack: Any, dtype: torch.dtype) -> None:
        self.blocks = [Block(block, dtype) for block in stack.block]
        self.norm = Norm(stack.final_layer_norm, torch.float32)
        self._bias = stack.block[0].layer[0].SelfAttention.compute_bias
        self._relative = torch.empty(0)

    def relative(self, length: int) -> Tensor:
        """What positions add to scores, of shape [1, heads, length, length], in fp32."""
        if self._relative.shape[-1] != length:
            self._relative = self._bias(length, length)
        return self._relative
