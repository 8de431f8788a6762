"""The loss of a T5 and its gradients, faster than by transformers' `forward`.

transformers' T5 spends two thirds of a training step on a CPU outside its matrix products: on
random numbers for dropout, a GELU of eight operations, unfused softmax and norms, and logits of
padding. Here each is one operation (`ops`, `dropout`), and only target tokens have logits. The
submodules are called as they are, so that adapters in them (peft) are trained as well.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from qa_assets.models.t5.dropout import AddDropped, Dropout
from qa_assets.models.t5.ops import Attention, Norm


class FastT5(nn.Module):  # type: ignore[misc]
    """The cross-entropy of a T5's targets, computed with the model's own submodules."""

    def __init__(self, model: PreTrainedModel, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing
        self.config = model.config
        self.gelu = "gelu" in model.config.dense_act_fn  # by tanh: transformers' gelu_new

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """See `losses`."""
        model, dtype = self.model, _compute_dtype(self.model.shared.weight)
        decoder_ids = model.prepare_decoder_input_ids_from_labels(labels=labels)
        # in one lookup, so that there is one gradient of the size of the vocabulary
        embedded = functional.embedding(
            torch.cat([input_ids.flatten(), decoder_ids.flatten()]), model.shared.weight
        )
        source, target = embedded.split([input_ids.numel(), decoder_ids.numel()])
        least = torch.finfo(dtype).min
        padding = torch.zeros_like(attention_mask, dtype=dtype)
        padding = padding.masked_fill_(attention_mask == 0, least)[:, None, None]
        encoded = self._stack(model.encoder, source.view(*input_ids.shape, -1), padding, None, None)
        length = labels.shape[1]
        future = torch.full((length, length), least, dtype=dtype).triu(1)
        hidden = target.view(*labels.shape, -1)
        causal = future.to(labels.device).expand(len(labels), 1, -1, -1)
        decoded = self._stack(model.decoder, hidden, causal, encoded, padding)
        real = labels >= 0
        decoded = decoded[real]
        if model.config.tie_word_embeddings:
            decoded = decoded * model.config.d_model**-0.5
        logits = model.lm_head(decoded).float()
        return functional.cross_entropy(
            logits, labels[real], label_smoothing=self.label_smoothing, reduction="sum"
        )

    def _stack(
        self,
        stack: Any,
        hidden: Tensor,
        bias: Tensor,
        encoded: Tensor | None,
        padding: Tensor | None,
    ) -> Tensor:
        """Encoder or decoder, from embedded tokens to normalised states in the computing dtype."""
        hidden = self._drop(hidden)
        length = hidden.shape[1]
        first = stack.block[0].layer[0].SelfAttention
        relative = first.compute_bias(length, length, device=hidden.device).to(bias.dtype)
        biases = bias + relative.detach()
        for block in stack.block:
            first, *cross, last = block.layer
            normed = _norm(first.layer_norm, hidden, bias.dtype)
            attended = self._attend(first.SelfAttention, normed, normed, biases, relative)
            hidden = self._add(hidden, attended)
            if cross:
                attention = cross[0].EncDecAttention
                normed = _norm(cross[0].layer_norm, hidden, bias.dtype)
                attended = self._attend(attention, normed, encoded, padding, None)
                hidden = self._add(hidden, attended)
            normed = _norm(last.layer_norm, hidden, bias.dtype)
            hidden = self._add(hidden, self._feed_forward(last.DenseReluDense, normed))
        return self._drop(_norm(stack.final_layer_norm, hidden, bias.dtype))

    def _feed_forward(self, module: Any, normed: Tensor) -> Tensor:
        if not self.config.is_gated_act:
            return module.wo(self._drop(self._activated(module.wi(normed))))
        inner = self._activated(module.wi_0(normed)) * module.wi_1(normed)
        return module.wo(self._drop(inner))

    def _activated(self, values: Tensor) -> Tensor:
        return functional.gelu(values, approximate="tanh") if self.gelu else functional.relu(values)

    def _attend(
        self, module: Any, queries: Tensor, keys: Any, bias: Any, relative: Tensor | None
    ) -> Tensor:
        """The output of an attention layer; in self-attention the keys are the queries.

        The relative position bias is in `bias`, and again in `relative` for its gradient.
        """
        batch, heads = len(queries), module.n_heads

        def by_head(values: Tensor) -> Tensor:
            return values.view(batch, -1, heads, module.key_value_proj_dim)

        if keys is queries:
            q, k, v = map(by_head, _projected(queries, module.q, module.k, module.v))
        else:
            q = by_head(module.q(queries))
            k, v = map(by_head, _projected(keys, module.k, module.v))
        attended = Attention.apply(q, k, v, bias, relative, self._rate)
        return module.o(attended.flatten(2))

    @property
    def _rate(self) -> float:
        rate: float = self.config.dropout_rate
        return rate if self.training else 0.0

    def _drop(self, values: Tensor) -> Tensor:
        return Dropout.apply(values, self._rate) if self._rate else values

    def _add(self, hidden: Tensor, change: Tensor) -> Tensor:
        return AddDropped.apply(hidden, change, self._rate) if self._rate else hidden + change


def _projected(values: Tensor, *modules: Any) -> list[Tensor]:
    """The outputs of linear layers for the same values, by one product if none has adapters."""
    if any(type(module) is not nn.Linear for module in modules):
        return [module(values) for module in modules]
    together = functional.linear(values, torch.cat([module.weight for module in modules]))
    return list(together.split([module.out_features for module in modules], dim=-1))


def _compute_dtype(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype: torch.dtype = torch.get_autocast_dtype(device) if autocast else weight.dtype
    return dtype


def _norm(module: Any, hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """T5's norm: without mean and bias, computed in fp32; has no adapters."""
    return Norm.apply(hidden, module.weight, module.variance_epsilon, dtype)
