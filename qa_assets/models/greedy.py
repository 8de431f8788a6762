"""Greedy search of a batch, as a custom decoding loop of transformers' `generate`.

`generate` turns the generation config into logits processors and stopping criteria, and calls
`search` with them. Its own loop computes finished rows until the last row is finished; `search`
drops them: of outputs of one to thirty tokens those are most rows. Logits come from a `Decoder`:
`t5.inference` or `generic`.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

# only decoding imports this module
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

if TYPE_CHECKING:
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList


class State(Protocol):
    """What a decoder keeps from token to token: a KV cache and the encoded sources."""

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but those of these numbers."""


class Decoder(Protocol):
    """Computes an encoder-decoder model without gradients, a token at a time."""

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's last hidden states, of shape [rows, tokens, d_model]."""

    def start(self, encoded: Tensor, attention_mask: Tensor, max_steps: int) -> Any:
        """The `State` before the first token; `step` is called `max_steps` times at most."""

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        """The logits of the next token in fp32, of shape [rows, vocabulary].

        Args:
            tokens: the last of each row.
            state: of `start`; is updated.
        """


@dataclass(frozen=True)
class Decoded:
    """The outputs of a batch; scores are logits after the processors.

    Attributes:
        sequences: token ids, of shape [rows, tokens], padded; the first is the decoder's start.
        log_probabilities: of each sequence, its end included, by the scores.
        min_gaps: smallest gap between the best and the second-best score, per sequence.
        first_logits: unprocessed, where the first token of the text is chosen; of shape
            [rows, vocabulary].
    """

    sequences: Tensor
    log_probabilities: Tensor
    min_gaps: Tensor
    first_logits: Tensor

    def rows(self, rows: Tensor) -> "Decoded":
        """Some rows, by their numbers or by a mask."""
        return Decoded(*(getattr(self, field.name)[rows] for field in fields(self)))


def search(
    model: Any,  # noqa: ARG001
    input_ids: Tensor,
    logits_processor: "LogitsProcessorList",
    stopping_criteria: "StoppingCriteriaList",
    generation_config: "GenerationConfig",
    *,
    decoder: Decoder,
    text_start: int,
    **inputs: Any,
) -> Decoded:
    """Decode a batch, the most probable token at a time; called by `generate`.

    Args:
        model: the decoder has its weights.
        input_ids: the decoder's start token, of shape [rows, 1].
        logits_processor: of the generation config.
        stopping_criteria: of the generation config.
        generation_config: `max_length` and `pad_token_id` are read.
        decoder: computes the logits.
        text_start: special tokens that the model puts before a text.
        inputs: `encoder_outputs` and `attention_mask` are read.
    """
    rows, max_length = len(input_ids), generation_config.max_length
    state = decoder.start(
        inputs["encoder_outputs"].last_hidden_state, inputs["attention_mask"], max_length - 1
    )
    sequences = input_ids.new_full((rows, max_length), generation_config.pad_token_id)
    sequences[:, :1] = input_ids
    log_probabilities = torch.zeros(rows, device=input_ids.device)
    min_gaps = torch.full_like(log_probabilities, torch.inf)
    computed = torch.arange(rows, device=input_ids.device)
    unfinished = torch.ones_like(computed, dtype=torch.bool)
    for length in range(1, max_length):
        prefixes = sequences[computed, :length]
        logits = decoder.step(prefixes[:, -1], state)
        numbers = computed[unfinished]
        if length == 1:
            first_logits = logits
        elif length <= 1 + text_start:
            first_logits[numbers] = logits[unfinished]
        scores = logits_processor(prefixes, logits)
        best = scores.topk(2)
        sequences[numbers, length] = best.indices[unfinished, 0]
        chosen = best.values[:, 0] - scores.logsumexp(-1)
        log_probabilities[numbers] += chosen[unfinished]
        gaps = best.values[:, 0] - best.values[:, 1]
        min_gaps[numbers] = torch.minimum(min_gaps[numbers], gaps[unfinished])
        unfinished &= ~stopping_criteria(sequences[computed, : length + 1], scores)
        left = int(unfinished.sum())
        if not left:
            break
        if left <= len(computed) // 2:  # copies the state, so not for each row
            kept = unfinished.nonzero()[:, 0]
            state.keep(kept)
            computed, unfinished = computed[kept], unfinished[kept]
    return Decoded(sequences[:, : length + 1], log_probabilities, min_gaps, first_logits)
