"""Fused operations of a T5 with hand-written gradients: norm, attention, dropout, residual.

On a CPU, passes over memory and random numbers for dropout cost more than the matrix products
between them. Knows nothing of models; `training` puts the operations together.
"""

import math
from typing import Any

import torch
from torch import Tensor

_BITS = 15  # of the random number of an element


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
        # the dtype is named: CUDA's autocast would make it fp32, which backward cannot multiply
        probabilities = torch.softmax(scores, dim=-1, dtype=scores.dtype)
        mask = _dropout_mask(probabilities, rate) if rate else None
        ctx.save_for_backward(q, k, v, probabilities, mask)
        ctx.shape, ctx.rate, ctx.relative = shape, rate, relative is not None
        used = probabilities if mask is None else _masked(probabilities, mask)
        out = torch.bmm(used, v)
        return (out.div_(1 - rate) if rate else out).view(*shape[:3], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        q, k, v, probabilities, mask = ctx.saved_tensors
        shape, rate = ctx.shape, ctx.rate
        grad = grad.reshape(-1, *grad.shape[2:])
        if rate:
            grad = grad / (1 - rate)
        used = probabilities if mask is None else _masked(probabilities, mask)
        grad_v = torch.bmm(used.transpose(1, 2), grad)
        grad_p = torch.bmm(grad, v.transpose(1, 2))
        if mask is not None:
            grad_p = _masked(grad_p, mask)
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
        mask = _dropout_mask(values, rate)
        ctx.save_for_backward(mask)
        ctx.rate = rate
        return _masked(values, mask).mul_(1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        (mask,) = ctx.saved_tensors
        return _masked(grad, mask).mul_(1 / (1 - ctx.rate)), None


class AddDropped(torch.autograd.Function):  # type: ignore[misc]
    """A residual connection: adds a change after dropout."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, change: Tensor, rate: float) -> Tensor:
        """Called by `apply`."""
        mask = _dropout_mask(change, rate)
        ctx.save_for_backward(mask)
        ctx.rate, ctx.dtype = rate, change.dtype
        return torch.add(hidden, _masked(change, mask), alpha=1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        (mask,) = ctx.saved_tensors
        return grad, _masked(grad.to(ctx.dtype), mask).mul_(1 / (1 - ctx.rate)), None


_INTEGERS = {2: torch.int16, 4: torch.int32}


def _dropout_mask(values: Tensor, rate: float) -> Tensor:
    """For each value an integer of its size: all bits 0 where it is dropped, else all 1.

    torch's Bernoulli numbers cost more than the layer that they are for. Here a 64-bit random
    number gives four of 15 bits, so that the rate is exact to 1 in 32,768.
    """
    count = values.numel()
    numbers = torch.empty(math.ceil(count / 4), dtype=torch.int64, device=values.device).random_()
    bits = numbers.view(torch.int16)[:count].bitwise_and_(2**_BITS - 1)
    bits.sub_(round((1 - rate) * 2**_BITS)).bitwise_right_shift_(_BITS)
    return bits.to(_INTEGERS[values.element_size()]).view(values.shape)


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    """The values, 0 where the mask is 0."""
    return (values.contiguous().view(mask.dtype) & mask).view(values.dtype)
