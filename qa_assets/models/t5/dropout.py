"""Dropout with hand-written gradients: of values, of a residual connection, of probabilities.

Random numbers cost more than the layers that they are for: torch's Bernoulli numbers, and its
integers, which it draws on one core. Here an element takes 16 bits of NumPy's fastest generator, so
that a rate is exact to 1 in 32,768. The generator is seeded by torch's own random numbers.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BITS = 15  # of the random number of an element
_INTEGERS = {2: torch.int16, 4: torch.int32}


class Dropout(torch.autograd.Function):  # type: ignore[misc]
    """Dropout, the same in backward as in forward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rate: float) -> Tensor:
        """Called by `apply`."""
        mask = keep_mask(values, rate)
        ctx.save_for_backward(mask)
        ctx.rate = rate
        return masked(values, mask).mul_(1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        (mask,) = ctx.saved_tensors
        return masked(grad, mask).mul_(1 / (1 - ctx.rate)), None


class AddDropped(torch.autograd.Function):  # type: ignore[misc]
    """A residual connection: adds a change after dropout."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, change: Tensor, rate: float) -> Tensor:
        """Called by `apply`."""
        mask = keep_mask(change, rate)
        ctx.save_for_backward(mask)
        ctx.rate, ctx.dtype = rate, change.dtype
        return torch.add(hidden, masked(change, mask), alpha=1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The gradients of the arguments."""
        (mask,) = ctx.saved_tensors
        return grad, masked(grad.to(ctx.dtype), mask).mul_(1 / (1 - ctx.rate)), None


def keep_mask(values: Tensor, rate: float) -> Tensor:
    """For each value an integer of its size: all bits 0 where it is dropped, else all 1."""
    numbers = _random_numbers(values.numel(), values.device).sub_(_least_dropped(rate))
    integers = _INTEGERS[values.element_size()]
    return numbers.bitwise_right_shift_(_BITS).to(integers).view(values.shape)


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """The values, 0 where the mask of `keep_mask` is 0."""
    return (values.contiguous().view(mask.dtype) & mask).view(values.dtype)


def negate_dropped(values: Tensor, rate: float) -> Tensor:
    """Change the sign of the values that are dropped, in place; they are contiguous, not negative.

    So probabilities need no mask beside them: `clamp_min(0)` drops, and `abs` gives all.
    """
    integers = _INTEGERS[values.element_size()]
    numbers = _random_numbers(values.numel(), values.device)
    negative = numbers.neg_().add_(_least_dropped(rate) - 1).to(integers)
    sign = negative.bitwise_and_(torch.iinfo(integers).min)
    values.view(integers).bitwise_xor_(sign.view(values.shape))
    return values


def _least_dropped(rate: float) -> int:
    numbers: int = round((1 - rate) * 2**_BITS)
    return numbers


def _random_numbers(count: int, device: torch.device) -> Tensor:
    """Uniform integers of 15 bits, in 16."""
    size = math.ceil(count / 4)
    if device.type == "cpu":
        seed = int(torch.randint(2**63 - 1, ()))
        numbers = torch.from_numpy(np.random.SFC64(seed).random_raw(size).view(np.int64))
    else:
        numbers = torch.empty(size, dtype=torch.int64, device=device).random_()
    return numbers.view(torch.int16)[:count].bitwise_and_(2**_BITS - 1)
