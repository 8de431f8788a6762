"""Greedy search of a batch, as a decoding loop for transformers' `generate`.

`generate` turns the generation config into logits processors and stopping criteria and calls
`search` with them. Its own loop computes finished rows on until the last is finished; here they are
dropped, which with answers of one token to thirty is most of them.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

# only what answers imports this module
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

if TYPE_CHECKING:
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    from qa_assets.models.t5.inference import InferenceT5


@dataclass(frozen=True)
class Decoded:
    """What was said to each row of a batch.

    Attributes:
        sequences: token ids, of shape [rows, tokens], padded; the first is the decoder's start.
        log_probabilities: of each row, its end included, by the processed logits.
        lead: of each row, how far the token said was ahead of the next best, by the processed
            logits and at the place where that is least.
        first_logits: of the first token, as the model gives them, of shape [rows, vocabulary].
    """

    sequences: Tensor
    log_probabilities: Tensor
    lead: Tensor
    first_logits: Tensor

    def of(self, rows: Tensor) -> "Decoded":
        """Some rows of these, by their numbers or by a mask."""
        return Decoded(*(getattr(self, field.name)[rows] for field in fields(self)))


def search(
    model: Any,  # noqa: ARG001 - `fast` has its weights
    input_ids: Tensor,
    logits_processor: "LogitsProcessorList",
    stopping_criteria: "StoppingCriteriaList",
    generation_config: "GenerationConfig",
    *,
    fast: "InferenceT5",
    **inputs: Any,
) -> Decoded:
    """Decode a batch, the most probable token at a time.

    Args:
        model: as `generate` calls it, like what is not listed here.
        input_ids: the decoder's start, of shape [rows, 1].
        logits_processor: of the generation config.
        stopping_criteria: of the generation config.
        generation_config: `max_length` and `pad_token_id` are read.
        fast: computes.
        inputs: `encoder_outputs` and `attention_mask` are read.
    """
    rows, most = len(input_ids), generation_config.max_length
    decoding = fast.start(
        inputs["encoder_outputs"].last_hidden_state, inputs["attention_mask"], most - 1
    )
    sequences = input_ids.new_full((rows, most), generation_config.pad_token_id)
    sequences[:, :1] = input_ids
    log_probabilities = torch.zeros(rows, device=input_ids.device)
    lead = torch.full_like(log_probabilities, torch.inf)
    held = torch.arange(rows, device=input_ids.device)
    going = torch.ones_like(held, dtype=torch.bool)
    for length in range(1, most):
        so_far = sequences[held, :length]
        logits = fast.step(so_far[:, -1], decoding)
        if length == 1:
            first_logits = logits
        scores = logits_processor(so_far, logits)
        best = scores.topk(2)
        numbers = held[going]
        sequences[numbers, length] = best.indices[going, 0]
        chosen = best.values[:, 0] - scores.logsumexp(-1)
        log_probabilities[numbers] += chosen[going]
        ahead = best.values[:, 0] - best.values[:, 1]
        lead[numbers] = torch.minimum(lead[numbers], ahead[going])
        going &= ~stopping_criteria(sequences[held, : length + 1], scores)
        left = int(going.sum())
        if not left:
            break
        if left <= len(held) // 2:  # copies what is remembered, so not for each row
            kept = going.nonzero()[:, 0]
            decoding.keep(kept)
            held, going = held[kept], going[kept]
    return Decoded(sequences[:, : length + 1], log_probabilities, lead, first_logits)
