"""A T5 without gradients, as a `greedy.Decoder`.

transformers casts the weights for each product under autocast; here they are held once in the dtype
to compute in, those of q, k and v concatenated.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

# only decoding imports this module
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253
from torch.nn import functional  # noqa: TID253

from qa_assets.models.t5 import ops, packed
from qa_assets.models.t5.training import is_gelu, padding_bias

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CACHED_TOKENS = 2048  # whose activations fit a CPU's cache


@dataclass
class T5State:
    """The `greedy.State` of an `InferenceT5`.

    Attributes:
        encoded: the encoder's output, of shape [rows, source tokens, d_model].
        padding: bias of the cross-attention's scores, of shape [rows, heads, source tokens].
        cache: by block the keys and values of the tokens so far, of shape
            [2, rows, heads, max steps, d_kv].
        length: number of tokens so far.
    """

    encoded: Tensor
    padding: Tensor
    cache: list[Tensor]
    length: int = 0

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but those of these numbers."""
        self.encoded, self.padding = self.encoded[rows], self.padding[rows]
        self.cache = [values[:, rows] for values in self.cache]


class InferenceT5:
    """A T5 to decode with: a copy of a model's weights, adapters included.

    `dtype` is that of the encoder, norms and residuals aside; the decoder, which has few tokens to
    compute, is in fp32.
    """

    def __init__(self, model: "PreTrainedModel", dtype: torch.dtype) -> None:
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
        """See `greedy.Decoder`; on a CPU in parts that fit its cache."""
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
        bias = stack.relative(length).to(self.dtype) + padding_bias(attention_mask, self.dtype)
        hidden = functional.embedding(input_ids, self.embedding)
        for block in stack.blocks:
            q, k, v = self._by_head(block.self_in(block.self_norm(hidden)), 3)
            attended = ops.Attention.apply(q, k, v, bias, None, 0.0)
            hidden += block.self_out(_merged_heads(attended))
            hidden += self._feed_forward(block, hidden)
        return stack.norm(hidden)

    def start(self, encoded: Tensor, attention_mask: Tensor, max_steps: int) -> T5State:
        """See `greedy.Decoder`."""
        shape = (2, len(encoded), self.heads, max_steps, self.size)
        padding = padding_bias(attention_mask, encoded.dtype)[:, 0].expand(-1, self.heads, -1)
        cache = [encoded.new_empty(shape) for _ in self.decoder.blocks]
        return T5State(encoded, padding.contiguous(), cache)

    def step(self, tokens: Tensor, state: T5State) -> Tensor:
        """See `greedy.Decoder`."""
        stack, start, end = self.decoder, state.length, state.length + 1
        relative = stack.relative(state.cache[0].shape[3])[:, :, start:end, :end]
        hidden = functional.embedding(tokens[:, None], self.embedding)
        for block, cache in zip(stack.blocks, state.cache, strict=True):
            q, k, v = self._by_head(block.self_in(block.self_norm(hidden)), 3)
            cache[:, :, :, start:end] = torch.stack([k, v])
            attended = ops.Attention.apply(q, *cache[:, :, :, :end], relative, None, 0.0)
            hidden += block.self_out(_merged_heads(attended))
            hidden += self._cross_attend(block, hidden, state)
            hidden += self._feed_forward(block, hidden)
        state.length = end
        return self.head(stack.norm(hidden[:, 0]))

    def _cross_attend(self, block: packed.Block, hidden: Tensor, state: T5State) -> Tensor:
        """Weight-absorbed cross-attention (DeepSeek-V2, 2024).

        W_K is folded into the query and W_V into the output: keys and values of hundreds of source
        tokens would cost more than an output of a few tokens saves by them.
        """
        rows = len(hidden)
        query = block.cross_query(block.cross_norm(hidden)).view(rows, self.heads, self.size)
        query = torch.bmm(query.transpose(0, 1), block.cross_keys).transpose(0, 1)
        scores = torch.baddbmm(state.padding, query, state.encoded.transpose(1, 2))
        context = torch.bmm(scores.softmax(-1), state.encoded)
        values = torch.bmm(context.transpose(0, 1), block.cross_values).transpose(0, 1)
        return block.cross_out(values.reshape(rows, 1, -1))

    def _feed_forward(self, block: packed.Block, hidden: Tensor) -> Tensor:
        normed = block.feed_norm(hidden)
        inner = block.feed_in(normed, self.activation)
        return block.feed_out(inner if block.feed_gate is None else inner * block.feed_gate(normed))

    def _by_head(self, values: Tensor, count: int) -> Tensor:
        """From [rows, tokens, count x heads x d_kv] to [count, rows, heads, tokens, d_kv]."""
        rows, tokens = values.shape[:2]
        return values.view(rows, tokens, count, self.heads, self.size).permute(2, 0, 3, 1, 4)


def _merged_heads(attended: Tensor) -> Tensor:
    """From [rows, heads, tokens, d_kv] to [rows, tokens, heads x d_kv]."""
    return attended.transpose(1, 2).flatten(2)
