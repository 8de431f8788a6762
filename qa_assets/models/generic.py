"""Encoder-decoder models of any architecture, computed by transformers' own code.

The loss of a T5 is computed by `t5`, which is faster.
"""

import inspect
import math
from typing import TYPE_CHECKING, Any

# only training and decoding import this module
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253
from transformers import LogitsProcessor  # noqa: TID253

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from qa_assets.models.decoding import Abstention


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


def global_attention(module: nn.Module, input_ids: Tensor) -> dict[str, Tensor]:
    """Of models with windowed attention (LED): the first token attends to all, and all to it."""
    if "global_attention_mask" not in inspect.signature(module.forward).parameters:
        return {}
    mask = torch.zeros_like(input_ids)
    mask[:, 0] = 1
    return {"global_attention_mask": mask}


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Records what `generate` chooses from in greedy decoding: the last of its processors.

    It removes the abstention token, if there is one to decode without.
    """

    def __init__(self, model: "PreTrainedModel", abstention: "Abstention | None") -> None:
        self.ends = torch.tensor(model.generation_config.eos_token_id, device=model.device)
        self.abstention = abstention
        self.log_probabilities = torch.zeros(0)
        self.margin = torch.zeros(0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores of the next token, of shape [rows, vocabulary]."""
        generated = input_ids[:, 1:]  # behind the decoder's start token
        if self.abstention:
            abstaining = scores[:, self.abstention.token].clone()
            scores = scores.index_fill(
                1, torch.tensor(self.abstention.token, device=scores.device), -math.inf
            )
            if generated.shape[1] <= self.abstention.text_start:
                self.margin = abstaining - scores.max(-1).values
        chosen = scores.max(-1).values - scores.logsumexp(-1)
        if not generated.shape[1]:
            self.log_probabilities = torch.zeros_like(chosen)
        unfinished = ~torch.isin(generated, self.ends).any(-1)
        self.log_probabilities += chosen.where(unfinished, 0.0)
        return scores

    def confidences(self) -> list[float]:
        """See `decoding.Output`."""
        if self.abstention:
            return [math.nan] * len(self.log_probabilities)
        confidences: list[float] = self.log_probabilities.exp().tolist()
        return confidences

    def margins(self) -> list[float]:
        """See `decoding.Output`."""
        if self.abstention is None:
            return [math.nan] * len(self.log_probabilities)
        margins: list[float] = self.margin.tolist()
        return margins
