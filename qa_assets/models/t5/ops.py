"""Operations of a T5 with gradients written out, each in as few passes over memory as there can be.

Knows nothing of models; `fast_t5` puts them together. On a CPU these passes, and random numbers for
dropout, cost more than the matrix products between them.
"""

import math
from typing import Any

# only what trains imports this module
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

_BITS = 15  # of a random number by which an element is dropped or kept


class Norm(torch.autograd.Function):  # type: ignore[misc]
    """x / sqrt(mean(x^2) + epsilon) * weight, over the last axis (Zhang and Sennrich, 2019)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        """Called by `apply`."""
        size = hidden.shape[-1]
        length = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = length.square_().div_(size).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, weight, inverse)
        return (hidden * inverse).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        hidden, weight, inverse = ctx.saved_tensors
        grad = grad.to(hidden.dtype)
        scaled = hidden * inverse
        product = grad * scaled
        along = (product @ weight).unsqueeze(-1).div_(weight.numel())
        grad_weight = product.flatten(0, -2).sum(0)
        grad_hidden = (grad * weight).addcmul_(scaled, along, value=-1).mul_(inverse)
        return grad_hidden, grad_weight, None, None


class Attention(torch.autograd.Function):  # type: ignore[misc]
    """softmax(q k' + bias) v with dropout, T5's scores being unscaled."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor,
        relative: Tensor | None,
        rate: float,
    ) -> Tensor:
        """Called by `apply`."""
        shape = (*q.shape[:3], k.shape[2])
        q, k, v = (values.reshape(-1, *values.shape[2:]) for values in (q, k, v))
        added = bias.expand(shape).reshape(-1, *shape[2:])
        scores = torch.baddbmm(added, q, k.transpose(1, 2))
        # named, as CUDA's autocast would make it fp32, which backward cannot multiply with
        probabilities = torch.softmax(scores, dim=-1, dtype=scores.dtype)
        kept = _kept(probabilities, rate) if rate else None
        ctx.save_for_backward(q, k, v, probabilities, kept)
        ctx.shape, ctx.rate, ctx.relative = shape, rate, relative is not None
        used = probabilities if kept is None else _keep(probabilities, kept)
        out = torch.bmm(used, v)
        return (out.div_(1 - rate) if rate else out).view(*shape[:3], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        q, k, v, probabilities, kept = ctx.saved_tensors
        shape, rate = ctx.shape, ctx.rate
        grad = grad.reshape(-1, *grad.shape[2:])
        if rate:
            grad = grad / (1 - rate)
        used = probabilities if kept is None else _keep(probabilities, kept)
        grad_v = torch.bmm(used.transpose(1, 2), grad)
        grad_p = torch.bmm(grad, v.transpose(1, 2))
        if kept is not None:
            grad_p = _keep(grad_p, kept)
        # the arguments of softmax's own backward
        grad_s = torch._softmax_backward_data(grad_p, probabilities, -1, probabilities.dtype)  # noqa: SLF001
        grads = torch.bmm(grad_s, k), torch.bmm(grad_s.transpose(1, 2), q), grad_v
        relative = grad_s.view(shape).sum(0, keepdim=True) if ctx.relative else None
        return (*(g.view(*shape[:2], *g.shape[1:]) for g in grads), None, relative, None)


class Dropout(torch.autograd.Function):  # type: ignore[misc]
    """Dropout, the same in backward as in forward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rate: float) -> Tensor:
        """Called by `apply`."""
        kept = _kept(values, rate)
        ctx.save_for_backward(kept)
        ctx.rate = rate
        return _keep(values, kept).mul_(1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        (kept,) = ctx.saved_tensors
        return _keep(grad, kept).mul_(1 / (1 - ctx.rate)), None


class AddDropped(torch.autograd.Function):  # type: ignore[misc]
    """A residual connection: what is added goes through dropout."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, change: Tensor, rate: float) -> Tensor:
        """Called by `apply`."""
        kept = _kept(change, rate)
        ctx.save_for_backward(kept)
        ctx.rate, ctx.dtype = rate, change.dtype
        return torch.add(hidden, _keep(change, kept), alpha=1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        (kept,) = ctx.saved_tensors
        return grad, _keep(grad.to(ctx.dtype), kept).mul_(1 / (1 - ctx.rate)), None


_INTEGERS = {2: torch.int16, 4: torch.int32}


def _kept(values: Tensor, rate: float) -> Tensor:
    """Bits to `_keep` values by: integers of their size, all ones, or all zeros with a rate.

    torch's Bernoulli numbers cost more than the layer that they are for; of one 64-bit number, four
    of 15 bits are had here, which makes the rate exact to 1 in 32,768.
    """
    count = values.numel()
    numbers = torch.empty(math.ceil(count / 4), dtype=torch.int64, device=values.device).random_()
    bits = numbers.view(torch.int16)[:count].bitwise_and_(2**_BITS - 1)
    bits.sub_(round((1 - rate) * 2**_BITS)).bitwise_right_shift_(_BITS)
    return bits.to(_INTEGERS[values.element_size()]).view(values.shape)


def _keep(values: Tensor, kept: Tensor) -> Tensor:
    """The values, with zeros where the bits are zero."""
    return (values.contiguous().view(kept.dtype) & kept).view(values.dtype)
