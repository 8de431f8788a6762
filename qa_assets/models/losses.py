"""What training optimises, by transformers' own forward passes; a T5's is computed faster in `t5`.

Each loss is a module from `input_ids`, `attention_mask`, both of shape [examples, tokens], and
`labels` of shape [examples, most targets], padded with -100, to a scalar in fp32, summed over the
targets. The model may have adapters of peft.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from qa_assets.models.decoding import global_attention


class Seq2SeqLoss(nn.Module):  # type: ignore[misc]
    """Cross-entropy of the tokens of an encoder-decoder."""

    def __init__(self, model: PreTrainedModel, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """See the module."""
        logits = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=_shifted(self.model, labels),
            use_cache=False,
            **global_attention(self.model, input_ids),
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


class EncoderLoss(nn.Module):  # type: ignore[misc]
    """Cross-entropy of the labels of a classification head.

    Where an example may have several labels, or none, binary cross-entropy, averaged over labels.
    """

    def __init__(self, model: PreTrainedModel, label_smoothing: float, several: bool) -> None:
        super().__init__()
        self.model, self.label_smoothing, self.several = model, label_smoothing, several

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """See the module."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        if not self.several:
            return functional.cross_entropy(
                logits, labels[:, 0], label_smoothing=self.label_smoothing, reduction="sum"
            )
        real = labels >= 0
        targets = torch.zeros_like(logits)
        targets[real.nonzero()[:, 0], labels[real]] = 1
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.mean(-1).sum()
