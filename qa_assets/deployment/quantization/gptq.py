"""GPTQ for eight bits: rounds weights so that a layer's outputs change little.

Frantar et al., 2022 (arXiv:2210.17323): the columns of a weight are rounded one after the other,
and what one loses is made up for by those that are still to come, as far as the layer's inputs go
together: with H the sum of x x' over the inputs x, and U the upper Cholesky factor of its inverse,
the columns j > i change by -error_i U_ij / U_ii.

The grid is that of symmetric eight bits by output channel, its step the largest weight over 127.
The largest stays what it is, so that any engine which quantises by output channel finds the same
grid again, and adds no error of its own.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_LARGEST = 127
_DAMPING = 0.01  # of the mean of H's diagonal, as in the paper
_BLOCK = 128


def round_weights(model: "PreTrainedModel", moments: "Mapping[str, torch.Tensor]") -> None:
    """Round the weights of all linear layers in place.

    Args:
        model: a T5 in full precision; the weights of its linear layers move to the grid, but for
            those that are embeddings at the same time.
        moments: of `calibration.Inputs`, of this model as it is now.
    """
    started = time.monotonic()
    modules = dict(model.named_modules())
    embeddings = model.get_input_embeddings().weight
    for name, moment in moments.items():
        weight = modules[name].weight
        if weight is not embeddings:
            weight.data.copy_(rounded(weight.data, moment))
    logger.info("rounded %d weights in %.1f s", len(moments), time.monotonic() - started)


def rounded(weight: "torch.Tensor", moment: "torch.Tensor") -> "torch.Tensor":
    """The weight on its grid.

    Args:
        weight: of shape [outputs, inputs].
        moment: of shape [inputs, inputs].
    """
    import torch

    columns = weight.T.contiguous()  # of the weight; rows here, each in one piece of memory
    largest, place = columns.abs().max(dim=0)
    step = largest.clamp(min=torch.finfo(weight.dtype).tiny) / _LARGEST
    factor = _factor(moment)
    for start in range(0, len(columns), _BLOCK):
        end = min(start + _BLOCK, len(columns))
        block, factors = columns[start:end], factor[start:end, start:end]
        errors = torch.empty_like(block)
        for number, column in enumerate(block):
            new = (column / step).round_().clamp_(-_LARGEST, _LARGEST).mul_(step)
            # the largest stays, whatever it would make up for
            new = torch.where(place == start + number, weight[:, start + number], new)
            errors[number] = (column - new) / factors[number, number]
            block[number + 1 :].addr_(factors[number, number + 1 :], errors[number], alpha=-1)
            block[number] = new
        columns[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return columns.T


def _factor(moment: "torch.Tensor") -> "torch.Tensor":
    """The upper Cholesky factor of the inverse, damped."""
    import torch

    moment = moment.double()
    diagonal = moment.diagonal()
    damped = moment + torch.eye(len(moment)) * (_DAMPING * diagonal.mean() + 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
