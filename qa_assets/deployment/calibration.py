"""What goes into a model's linear layers while it answers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def linear_inputs(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    note: "Callable[[str, torch.Tensor], None]",
    *,
    max_new_tokens: int,
) -> None:
    """Answer sources one by one and look at the inputs of linear layers.

    Args:
        model: a T5, in full precision.
        tokenizer: the model's.
        sources: of the kind that will be asked.
        note: called with the name of a layer and inputs of it, of shape [rows, inputs].
        max_new_tokens: longest answer, in tokens.
    """
    import torch

    hooks = [
        layer.register_forward_pre_hook(
            lambda _, given, name=name: note(name, given[0].detach().flatten(0, -2))
        )
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
