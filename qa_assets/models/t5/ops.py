"""Fused operations of a T5 with hand-written gradients: norm and attention.

On a CPU, passes over memory cost more than the matrix products between them. Knows nothing of
models; `training` puts the operations together, with those of `dropout`.
"""

from typing import Any

import torch
from torch import Tensor

from qa_assets.models.t5.dropout import negate_dropped


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
    """softmax(q k' + bias) v with dropout, T5's scores being unscaled.

    Queries, keys, values and result have the shape [examples, tokens, heads, size]. The relative
    position bias is in `bias`, and again in `relative` for its gradient.
    """

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
        shape = (len(q), q.shape[2], q.shape[1], k.shape[1])
        q, k, v = (_by_head(each) for each in (q, k, v))
        scores = torch.baddbmm(bias.expand(shape).flatten(0, 1), q, k.transpose(1, 2))
        # the dtype is named: CUDA's autocast would make it fp32, which backward cannot multiply
        kept = torch.softmax(scores, dim=-1, dtype=scores.dtype)
        used = negate_dropped(kept, rate).clamp_min(0) if rate else kept
        ctx.save_for_backward(q, k, v, kept)
        ctx.shape, ctx.rate, ctx.relative = shape, rate, relative is not None
        out = _by_token(torch.bmm(used, v), shape)
        return out.mul_(1 / (1 - rate)) if rate else out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        q, k, v, kept = ctx.saved_tensors
        grad = _by_head(grad)
        used = probabilities = kept
        if ctx.rate:
            grad = grad * (1 / (1 - ctx.rate))
            used, probabilities = kept.clamp_min(0), kept.abs()
        grad_v = torch.bmm(used.transpose(1, 2), grad)
        grad_p = torch.bmm(grad, v.transpose(1, 2))
        if ctx.rate:
            grad_p = torch.ops.aten.threshold_backward(grad_p, kept, 0)
        # the arguments of softmax's own backward
        grad_s = torch._softmax_backward_data(grad_p, probabilities, -1, grad_p.dtype)  # noqa: SLF001
        grads = torch.bmm(grad_s, k), torch.bmm(grad_s.transpose(1, 2), q), grad_v
        relative = grad_s.view(ctx.shape).sum(0, keepdim=True) if ctx.relative else None
        return *(_by_token(each, ctx.shape) for each in grads), None, relative, None


def _by_head(values: Tensor) -> Tensor:
    """[examples, tokens, heads, size] to [examples * heads, tokens, size]."""
    return values.transpose(1, 2).reshape(-1, values.shape[1], values.shape[3])


def _by_token(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The reverse of `_by_head`, as a view, from the shape of the scores."""
    return values.unflatten(0, shape[:2]).transpose(1, 2)
