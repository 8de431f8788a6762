"""The loss of a T5, computed faster than by its own `forward`: same weights, same mathematics.

transformers' T5 spends two thirds of a training step on a CPU beside its matrix products: on random
numbers for dropout, a GELU in eight operations, softmax and norms in passes of their own, and
logits of padding. Here each of these is one operation, and logits are computed of target tokens
only. The submodules are called as they are, so that adapters in them (peft) are trained as well.
"""

import math
from typing import TYPE_CHECKING, Any

# all of this is torch, and only what trains imports it
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BITS = 15  # of a random number by which an element is dropped or kept


class UnknownModelError(TypeError):
    """A model that is no T5."""


class SummedLoss(nn.Module):  # type: ignore[misc]
    """The cross-entropy of a T5's targets, added up over their tokens."""

    def __init__(self, model: "PreTrainedModel", label_smoothing: float = 0.0) -> None:
        """Compute with a model's own submodules.

        Args:
            model: a T5 of transformers, with adapters of peft or without.
            label_smoothing: share of the probability that is spread over the vocabulary.

        Raises:
            UnknownModelError: it is no T5.
        """
        super().__init__()
        if model.config.model_type != "t5":
            raise UnknownModelError(
                f"{model.name_or_path or 'this model'} is a {model.config.model_type}: fine-tuning "
                "knows T5 models, Flan-T5 and T5 v1.1 among them"
            )
        self.model, self.label_smoothing = model, label_smoothing
        self.config = model.config
        self.gelu = "gelu" in model.config.dense_act_fn

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """The loss in fp32, a scalar.

        Args:
            input_ids: of shape [rows, tokens].
            attention_mask: of that shape, 0 where there is padding.
            labels: of shape [rows, target tokens], -100 where there is padding.
        """
        model, dtype = self.model, _compute_dtype(input_ids.device)
        decoder_ids = model.prepare_decoder_input_ids_from_labels(labels=labels)
        # at once, so that there is but one gradient of the size of the vocabulary
        embedded = functional.embedding(
            torch.cat([input_ids.flatten(), decoder_ids.flatten()]), model.shared.weight
        )
        source, target = embedded.split([input_ids.numel(), decoder_ids.numel()])
        hidden = source.view(*input_ids.shape, -1)
        absent = _mask_bias(attention_mask, dtype)
        encoded = self._stack(model.encoder, hidden, absent, None, None)
        length = labels.shape[1]
        future = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype).triu(1)
        hidden = target.view(*labels.shape, -1)
        causal = future.to(labels.device).expand(len(labels), 1, -1, -1)
        decoded = self._stack(model.decoder, hidden, causal, encoded, absent)
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
        absent: Tensor | None,
    ) -> Tensor:
        """Encoder or decoder, from embedded tokens to normalised states in the computing dtype."""
        hidden = self._drop(hidden)
        length = hidden.shape[1]
        first = stack.block[0].layer[0].SelfAttention
        relative = first.compute_bias(length, length, device=hidden.device).to(bias.dtype)
        added = bias + relative.detach()
        for block in stack.block:
            first, *cross, last = block.layer
            normed = _norm(first.layer_norm, hidden, bias.dtype)
            attended = self._attend(first.SelfAttention, normed, normed, added, relative)
            hidden = self._add(hidden, attended)
            if cross:
                attention = cross[0].EncDecAttention
                normed = _norm(cross[0].layer_norm, hidden, bias.dtype)
                attended = self._attend(attention, normed, encoded, absent, None)
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
        # what transformers calls gelu_new
        return functional.gelu(values, approximate="tanh") if self.gelu else functional.relu(values)

    def _attend(
        self, module: Any, queries: Tensor, keys: Any, bias: Any, relative: Tensor | None
    ) -> Tensor:
        """What a module attends to; `bias` holds `relative`, which is there for its gradient."""
        batch, heads = len(queries), module.n_heads

        def by_head(values: Tensor) -> Tensor:
            return values.view(batch, -1, heads, module.key_value_proj_dim).transpose(1, 2)

        attended = _Attention.apply(
            by_head(module.q(queries)), by_head(module.k(keys)), by_head(module.v(keys)),
            bias, relative, self._rate,
        )  # fmt: skip
        return module.o(attended.transpose(1, 2).flatten(2))

    @property
    def _rate(self) -> float:
        rate: float = self.config.dropout_rate
        return rate if self.training else 0.0

    def _drop(self, values: Tensor) -> Tensor:
        return _Dropout.apply(values, self._rate) if self._rate else values

    def _add(self, hidden: Tensor, change: Tensor) -> Tensor:
        return hidden + self._drop(change)


def _compute_dtype(device: torch.device) -> torch.dtype:
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32


def _mask_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to attention's scores: the least number at padding; [rows, 1, 1, tokens]."""
    least = torch.finfo(dtype).min
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask == 0, least)[:, None, None]


def _norm(module: Any, hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """T5's norm: without mean and bias, computed in fp32."""
    weight = module.weight
    return functional.rms_norm(hidden, weight.shape, weight, module.variance_epsilon).to(dtype)


class _Attention(torch.autograd.Function):  # type: ignore[misc]
    """softmax(q k' + bias) v with dropout, T5's scores being unscaled."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor,
        relative: Tensor | None,
        rate: float,
    ) -> Tensor:
        shape = (*q.shape[:3], k.shape[2])
        q, k, v = (values.reshape(-1, *values.shape[2:]) for values in (q, k, v))
        added = bias.expand(shape).reshape(-1, *shape[2:])
        probabilities = torch.softmax(torch.baddbmm(added, q, k.transpose(1, 2)), dim=-1)
        kept = _kept(probabilities, rate) if rate else None
        ctx.save_for_backward(q, k, v, probabilities, kept)
        ctx.shape, ctx.rate, ctx.relative = shape, rate, relative is not None
        used = probabilities if kept is None else _keep(probabilities, kept)
        out = torch.bmm(used, v)
        return (out.div_(1 - rate) if rate else out).view(*shape[:3], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, k, v, probabilities, kept = ctx.saved_tensors
        shape, rate = ctx.shape, ctx.rate
        grad = grad.reshape(-1, *grad.shape[2:])
        if rate:
            grad = grad / (1 - rate)
        used = probabilities if kept is None else _keep(probabilities, kept)
        grad_v = torch.bmm(used.transpose(1, 2), grad)
        grad_p = torch.bmm(grad, v.transpose(1, 2))
        if kept is not None:
            grad_p = _keep(grad_p, kept)
        # the arguments of softmax's own backward
        grad_s = torch._softmax_backward_data(grad_p, probabilities, -1, probabilities.dtype)  # noqa: SLF001
        grads = torch.bmm(grad_s, k), torch.bmm(grad_s.transpose(1, 2), q), grad_v
        relative = grad_s.view(shape).sum(0, keepdim=True) if ctx.relative else None
        return (*(g.view(*shape[:2], *g.shape[1:]) for g in grads), None, relative, None)


class _Dropout(torch.autograd.Function):  # type: ignore[misc]
    """Dropout, the same in backward as in forward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rate: float) -> Tensor:
        kept = _kept(values, rate)
        ctx.save_for_backward(kept)
        ctx.rate = rate
        return _keep(values, kept).mul_(1 / (1 - rate))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (kept,) = ctx.saved_tensors
        return _keep(grad, kept).mul_(1 / (1 - ctx.rate)), None


_INTEGERS = {2: torch.int16, 4: torch.int32}


def _kept(values: Tensor, rate: float) -> Tensor:
    """Bits to `_keep` values by: integers of their size, all ones, or all zeros with a rate.

    torch's Bernoulli numbers cost more than the layer that they are for; of one 64-bit number, four
    of 15 bits are had here, which makes the rate exact to 1 in 32,768.
    """
    count = values.numel()
    numbers = torch.empty(math.ceil(count / 4), dtype=torch.int64, device=values.device).random_()
    bits = numbers.view(torch.int16)[:count].bitwise_and_(2**_BITS - 1)
    bits.sub_(round((1 - rate) * 2**_BITS)).bitwise_right_shift_(_BITS)
    return bits.to(_INTEGERS[values.element_size()]).view(values.shape)


def _keep(values: Tensor, kept: Tensor) -> Tensor:
    """The values, with zeros where the bits are zero."""
    return (values.contiguous().view(kept.dtype) & kept).view(values.dtype)
