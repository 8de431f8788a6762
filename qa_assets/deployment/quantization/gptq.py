"""GPTQ for int8: rounds weights so that the outputs of a layer change little.

Frantar et al., 2022 (arXiv:2210.17323): the columns of a weight are rounded in order, and the
rounding error of each is compensated in the columns after it. With H = X'X of the layer's inputs X,
and U the upper Cholesky factor of the inverse of H, the columns j > i change by
-error_i U_ij / U_ii.

The grid is symmetric int8 by output channel, with the largest weight / 127 as its step. The largest
weight is left as it is, so that any engine that quantises by output channel finds the same grid,
and adds no rounding error.
"""

import logging
import time
from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_LARGEST = 127
_DAMPING = 0.01  # of the mean of H's diagonal, as in the paper
_BLOCK = 128


def round_weights(model: PreTrainedModel, xtx: Mapping[str, torch.Tensor]) -> None:
    """Round the weights of all linear layers in place, except those shared with embeddings.

    Args:
        model: a T5 in full precision.
        xtx: by layer, see `ActivationStatistics`, of this model as it is now.
    """
    started = time.monotonic()
    modules = dict(model.named_modules())
    embeddings = model.get_input_embeddings().weight
    for name, hessian in xtx.items():
        weight = modules[name].weight
        if weight is not embeddings:
            weight.data.copy_(rounded(weight.data, hessian))
    logger.info("GPTQ: %d weights in %.1f s", len(xtx), time.monotonic() - started)


def rounded(weight: torch.Tensor, xtx: torch.Tensor) -> torch.Tensor:
    """A weight, rounded to its grid.

    Args:
        weight: of shape [outputs, inputs].
        xtx: of shape [inputs, inputs].
    """
    columns = weight.T.contiguous()  # of the weight; as rows here, contiguous in memory
    largest, largest_column = columns.abs().max(dim=0)
    step = largest.clamp(min=torch.finfo(weight.dtype).tiny) / _LARGEST
    factor = _inverse_factor(xtx)
    for start in range(0, len(columns), _BLOCK):
        end = min(start + _BLOCK, len(columns))
        block, factors = columns[start:end], factor[start:end, start:end]
        errors = torch.empty_like(block)
        for number, column in enumerate(block):
            new = (column / step).round_().clamp_(-_LARGEST, _LARGEST).mul_(step)
            # the largest weights keep their original values, without compensation
            new = torch.where(largest_column == start + number, weight[:, start + number], new)
            errors[number] = (column - new) / factors[number, number]
            block[number + 1 :].addr_(factors[number, number + 1 :], errors[number], alpha=-1)
            block[number] = new
        columns[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    return columns.T


def _inverse_factor(xtx: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the inverse of a damped matrix."""
    xtx = xtx.double()
    damped = xtx + torch.eye(len(xtx)) * (_DAMPING * xtx.diagonal().mean() + 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
