"""Encoder-decoder models of any architecture, computed by transformers' own `forward`.

A T5 is computed by `t5`, which is faster.
"""

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# only training and decoding import this module
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253
from transformers.modeling_outputs import BaseModelOutput  # noqa: TID253

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GenericLoss(nn.Module):  # type: ignore[misc]
    """The cross-entropy of a model's targets; the model may have adapters of peft."""

    def __init__(self, model: "PreTrainedModel", label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """See `Family.loss`."""
        logits = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=_shifted(self.model, labels),
            use_cache=False,
            **_global_attention(self.model, input_ids),
        ).logits
        real = labels >= 0
        return functional.cross_entropy(
            logits[real].float(), labels[real], label_smoothing=self.label_smoothing,
            reduction="sum",
        )  # fmt: skip


def _shifted(model: Any, labels: Tensor) -> Tensor:
    """The decoder's input: the labels behind its start token."""
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        decoder_ids: Tensor = model.prepare_decoder_input_ids_from_labels(labels=labels)
        return decoder_ids
    start = torch.full_like(labels[:, :1], model.config.decoder_start_token_id)
    ids = torch.cat([start, labels[:, :-1]], dim=1)
    return ids.masked_fill(ids < 0, model.config.pad_token_id)


def _global_attention(module: nn.Module, input_ids: Tensor) -> dict[str, Tensor]:
    """Of models with windowed attention (LED): the first token attends to all, and all to it."""
    if "global_attention_mask" not in inspect.signature(module.forward).parameters:
        return {}
    mask = torch.zeros_like(input_ids)
    mask[:, 0] = 1
    return {"global_attention_mask": mask}


@dataclass
class GenericState:
    """The `greedy.State` of a `GenericDecoder`: sources and the KV cache of transformers."""

    encoded: Tensor
    attention_mask: Tensor
    cache: Any = None

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but those of these numbers."""
        self.encoded, self.attention_mask = self.encoded[rows], self.attention_mask[rows]
        self.cache.batch_select_indices(rows)


class GenericDecoder:
    """A `greedy.Decoder` of any encoder-decoder model; `dtype` is that of the encoder's products.

    The decoder, which has few tokens to compute, is in fp32.
    """

    def __init__(self, model: "PreTrainedModel", dtype: torch.dtype) -> None:
        self.model, self.dtype = model.eval(), dtype

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See `greedy.Decoder`."""
        encoder, device = self.model.get_encoder(), self.model.device.type
        with torch.autocast(device, dtype=self.dtype, enabled=self.dtype != torch.float32):
            output = encoder(
                input_ids=input_ids, attention_mask=attention_mask, return_dict=True,
                **_global_attention(encoder, input_ids),
            )  # fmt: skip
        encoded: Tensor = output.last_hidden_state.float()
        return encoded

    def start(self, encoded: Tensor, attention_mask: Tensor, max_steps: int) -> GenericState:  # noqa: ARG002
        """See `greedy.Decoder`."""
        return GenericState(encoded, attention_mask)

    def step(self, tokens: Tensor, state: GenericState) -> Tensor:
        """See `greedy.Decoder`."""
        output = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=state.encoded),
            attention_mask=state.attention_mask,
            decoder_input_ids=tokens[:, None],
            past_key_values=state.cache,
            use_cache=True,
        )
        state.cache = output.past_key_values
        logits: Tensor = output.logits[:, -1].float()
        return logits
