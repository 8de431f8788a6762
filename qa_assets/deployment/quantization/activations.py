"""What goes into a model's linear layers while it answers: how large, and what goes together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Inputs:
    """Of linear layers, by name.

    Attributes:
        maxima: the largest magnitude of each channel x of the input, of shape [inputs].
        moments: the sum of x x', of shape [inputs, inputs].
    """

    maxima: "dict[str, torch.Tensor]"
    moments: "dict[str, torch.Tensor]"


def linear_inputs(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    *,
    max_new_tokens: int,
) -> Inputs:
    """Answer sources one by one and look at the inputs of linear layers.

    Args:
        model: a T5, in full precision.
        tokenizer: the model's.
        sources: of the kind that will be asked.
        max_new_tokens: longest answer, in tokens.
    """
    import torch

    found = Inputs({}, {})

    def note(name: str, given: torch.Tensor) -> None:
        rows = given.detach().flatten(0, -2)
        largest = rows.abs().amax(0)
        found.maxima[name] = torch.maximum(found.maxima.get(name, largest), largest)
        found.moments.setdefault(name, rows.new_zeros(rows.shape[1], rows.shape[1]))
        found.moments[name].addmm_(rows.T, rows)

    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: note(name, given[0]))
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    try:
        with torch.inference_mode():
            for source in sources:
                inputs = tokenizer(source, return_tensors="pt", verbose=False)
                model.generate(**inputs, max_new_tokens=max_new_tokens, num_beams=1)
    finally:
        for hook in hooks:
            hook.remove()
    return found
