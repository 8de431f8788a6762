"""T5 computed faster than by transformers' `forward`, with the same mathematics.

Other architectures are computed by `models.losses`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def applies_to(model: "PreTrainedModel") -> bool:
    """Whether a model is a T5: T5, T5 v1.1 or Flan-T5; mT5 is another architecture."""
    return bool(model.config.model_type == "t5")
