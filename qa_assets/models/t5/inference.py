"""A T5 for answering only: its encoder, and its decoder a token at a time, without gradients.

Same weights and mathematics as transformers' own, which under autocast casts weights anew for each
product; here they are held once, joined and in the dtype to compute in.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

# only what answers imports this module
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253
from torch.nn import functional  # noqa: TID253

from qa_assets.models.t5 import ops, packed
from qa_assets.models.t5.training import absent_bias, is_gelu, require_t5

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CACHED_TOKENS = 2048  # encoded together on a CPU: what is computed of them stays near the cores


@dataclass
class Decoding:
    """What the decoder remembers of some rows from token to token.

    Attributes:
        encoded: what it reads of the sources, of shape [rows, source tokens, d_model].
        absent: what is added to scores of these, of shape [rows, heads, source tokens].
        own: by block the keys and values of the tokens so far, of shape
            [2, rows, heads, most tokens, d_kv].
        length: how many tokens so far.
    """

    encoded: Tensor
    absent: Tensor
    own: list[Tensor]
    length: int = 0

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but those of these numbers."""
        self.encoded, self.absent = self.encoded[rows], self.absent[rows]
        self.own = [values[:, rows] for values in self.own]


class InferenceT5:
    """A T5 to answer with."""

    def __init__(self, model: "PreTrainedModel", dtype: torch.dtype) -> None:
        """Copy a model's weights.

        Args:
            model: a T5 of transformers, with adapters of peft or without.
            dtype: that the encoder computes in, norms and residuals aside; the decoder, which has
                few tokens to compute, does in fp32.

        Raises:
            fast_t5.UnknownModelError: it is no T5.
        """
        require_t5(model)
        config = model.config
        self.dtype, self.heads, self.size = dtype, config.num_heads, config.d_kv
        self.activation = "gelu" if is_gelu(config) else "relu"
        self.embedding = model.shared.weight.detach()
        head = packed.weight_of(model.lm_head)
        self.head = packed.Product(
            head * config.d_model**-0.5 if config.tie_word_embeddings else head
        )
        self.encoder = packed.Stack(model.encoder, dtype)
        self.decoder = packed.Stack(model.decoder, torch.float32)

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden states of the encoder, of shape [rows, tokens, d_model].

        Args:
            input_ids: of shape [rows, tokens].
            attention_mask: of that shape, 0 where there is padding.
        """
        shape = input_ids.shape
        rows = max(1, _CACHED_TOKENS // shape[1]) if input_ids.device.type == "cpu" else shape[0]
        encoded = self.embedding.new_zeros(*shape, self.embedding.shape[1])
        for start in range(0, shape[0], rows):
            mask = attention_mask[start : start + rows]
            mask = mask[:, : int(mask.sum(1).max())]
            part = encoded[start : start + rows, : mask.shape[1]]
            part.copy_(self._encode(input_ids[start : start + rows, : mask.shape[1]], mask))
        return encoded

    def _encode(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        stack, length = self.encoder, input_ids.shape[1]
        absent = absent_bias(attention_mask, self.dtype)
        added = stack.relative(length).to(self.dtype) + absent
        hidden = functional.embedding(input_ids, self.embedding)
        for block in stack.blocks:
            q, k, v = self._by_head(block.own_in(block.norm(hidden)), 3)
            attended = ops.Attention.apply(q, k, v, added, None, 0.0)
            hidden += block.own_out(_side_by_side(attended))
            hidden += self._feed_forward(block, hidden)
        return stack.norm(hidden)

    def start(self, encoded: Tensor, attention_mask: Tensor, most_tokens: int) -> Decoding:
        """What the decoder is to remember before the first token.

        Args:
            encoded: of `encode`.
            attention_mask: of the sources.
            most_tokens: how many times `step` will be called at most.
        """
        shape = (2, len(encoded), self.heads, most_tokens, self.size)
        absent = absent_bias(attention_mask, encoded.dtype)[:, 0].expand(-1, self.heads, -1)
        own = [encoded.new_empty(shape) for _ in self.decoder.blocks]
        return Decoding(encoded, absent.contiguous(), own)

    def step(self, tokens: Tensor, decoding: Decoding) -> Tensor:
        """The logits of the next token in fp32, of shape [rows, vocabulary].

        Args:
            tokens: the last of each row.
            decoding: goes on by them.
        """
        stack, start, end = self.decoder, decoding.length, decoding.length + 1
        relative = stack.relative(decoding.own[0].shape[3])[:, :, start:end, :end]
        hidden = functional.embedding(tokens[:, None], self.embedding)
        for block, own in zip(stack.blocks, decoding.own, strict=True):
            q, k, v = self._by_head(block.own_in(block.norm(hidden)), 3)
            own[:, :, :, start:end] = torch.stack([k, v])
            attended = ops.Attention.apply(q, *own[:, :, :, :end], relative, None, 0.0)
            hidden += block.own_out(_side_by_side(attended))
            hidden += self._read(block, hidden, decoding)
            hidden += self._feed_forward(block, hidden)
        decoding.length = end
        return self.head(stack.norm(hidden[:, 0]))

    def _read(self, block: packed.Block, hidden: Tensor, decoding: Decoding) -> Tensor:
        """Attention to the source, without its keys and values.

        Those of hundreds of tokens would cost more than all that an answer of a few asks of them:
        queries are taken to where the source is instead, and what they find there to where values
        are (the absorption of DeepSeek-V2, 2024).
        """
        rows = len(hidden)
        query = block.read_query(block.read_norm(hidden)).view(rows, self.heads, self.size)
        query = torch.bmm(query.transpose(0, 1), block.read_keys).transpose(0, 1)
        scores = torch.baddbmm(decoding.absent, query, decoding.encoded.transpose(1, 2))
        found = torch.bmm(scores.softmax(-1), decoding.encoded)
        values = torch.bmm(found.transpose(0, 1), block.read_values).transpose(0, 1)
        return block.read_out(values.reshape(rows, 1, -1))

    def _feed_forward(self, block: packed.Block, hidden: Tensor) -> Tensor:
        normed = block.last_norm(hidden)
        inner = block.inner(normed, self.activation)
        return block.last(inner if block.gate is None else inner * block.gate(normed))

    def _by_head(self, values: Tensor, count: int) -> Tensor:
        """From [rows, tokens, count x heads x d_kv] to [count, rows, heads, tokens, d_kv]."""
        rows, tokens = values.shape[:2]
        return values.view(rows, tokens, count, self.heads, self.size).permute(2, 0, 3, 1, 4)


def _side_by_side(attended: Tensor) -> Tensor:
    """From [rows, heads, tokens, d_kv] to [rows, tokens, heads x d_kv]."""
    return attended.transpose(1, 2).flatten(2)
