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
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qa_assets.deployment.calibration import linear_inputs

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Moments = Mapping[str, "torch.Tensor"]
"""By name of a linear layer the sum of x x' over its inputs, of shape [inputs, inputs]."""
_LARGEST = 127
_DAMPING = 0.01  # of the mean of H's diagonal, as in the paper
_BLOCK = 128


def input_moments(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    *,
    max_new_tokens: int,
) -> Moments:
    """Answer sources and add up what goes into linear layers; arguments as `linear_inputs`."""
    moments: dict[str, torch.Tensor] = {}

    def note(name: str, rows: "torch.Tensor") -> None:
        moments[name] = moments.get(name, 0) + rows.T @ rows

    linear_inputs(model, tokenizer, sources, note, max_new_tokens=max_new_tokens)
    return moments


def round_weights(model: "PreTrainedModel", moments: Moments) -> None:
    """Round the weights of all linear layers in place.

    Args:
        model: a T5 in full precision; the weights of its linear layers move to the grid, but for
            those that are embeddings at the same time.
        moments: of this model, as it is now.
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

    weight, left = weight.clone(), torch.empty_like(weight)
    largest, place = weight.abs().max(dim=1)
    step = largest.clamp(min=torch.finfo(weight.dtype).tiny) / _LARGEST
    ends = torch.zeros_like(weight).scatter_(1, place[:, None], weight.gather(1, place[:, None]))
    factor = _factor(moment)
    columns = weight.shape[1]
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        for column in range(start, end):
            now = weight[:, column]
            new = (now / step).round_().clamp_(-_LARGEST, _LARGEST) * step
            # the largest stays, whatever it would make up for
            new = torch.where(ends[:, column] != 0, ends[:, column], new)
            error = (now - new) / factor[column, column]
            weight[:, column:end] -= error[:, None] * factor[column, column:end]
            weight[:, column] = new
            left[:, column] = error
        weight[:, end:] -= left[:, start:end] @ factor[start:end, end:]
    return weight


def _factor(moment: "torch.Tensor") -> "torch.Tensor":
    """The upper Cholesky factor of the inverse, damped."""
    import torch

    moment = moment.double()
    diagonal = moment.diagonal()
    damped = moment + torch.eye(len(moment)) * (_DAMPING * diagonal.mean() + 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
