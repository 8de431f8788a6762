"""A T5 for answering only: its encoder, and its decoder a token at a time, without gradients.

Same weights and mathematics as transformers' own. That casts weights anew for each product, and on
a CPU it multiplies in fp32 by a library that is half as fast as it could be on AMD's; here weights
are held once, joined and in the dtype to compute in.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# only what answers imports this module
import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253
from torch.nn import functional  # noqa: TID253

from qa_assets.training import fast_ops
from qa_assets.training.fast_t5 import absent_bias, is_gelu, require_t5

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
        head = weight_of(model.lm_head)
        self.head = _Product(head * config.d_model**-0.5 if config.tie_word_embeddings else head)
        self.encoder = _Stack(model.encoder, dtype)
        self.decoder = _Stack(model.decoder, torch.float32)

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
            attended = fast_ops.Attention.apply(q, k, v, added, None, 0.0)
            hidden = hidden + block.own_out(_side_by_side(attended))
            hidden = hidden + self._feed_forward(block, hidden)
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
            attended = fast_ops.Attention.apply(q, *own[:, :, :, :end], relative, None, 0.0)
            hidden = hidden + block.own_out(_side_by_side(attended))
            hidden = hidden + self._read(block, hidden, decoding)
            hidden = hidden + self._feed_forward(block, hidden)
        decoding.length = end
        return self.head(stack.norm(hidden[:, 0]))

    def _read(self, block: "_Block", hidden: Tensor, decoding: Decoding) -> Tensor:
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

    def _feed_forward(self, block: "_Block", hidden: Tensor) -> Tensor:
        normed = block.last_norm(hidden)
        inner = block.inner(normed, self.activation)
        return block.last(inner if block.gate is None else inner * block.gate(normed))

    def _by_head(self, values: Tensor, count: int) -> Tensor:
        """From [rows, tokens, count x heads x d_kv] to [count, rows, heads, tokens, d_kv]."""
        rows, tokens = values.shape[:2]
        return values.view(rows, tokens, count, self.heads, self.size).permute(2, 0, 3, 1, 4)


class _Norm:
    """T5's norm, in fp32; the result in the dtype to compute in."""

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self.weight, self.epsilon = module.weight.detach(), module.variance_epsilon
        self.dtype = dtype

    def __call__(self, hidden: Tensor) -> Tensor:
        normed = functional.rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)
        return normed.to(self.dtype)


class _Block:
    """The weights of a block; those that multiply the same are joined."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        def held(module: Any, *names: str) -> _Product:
            return _Product(
                torch.cat([weight_of(getattr(module, name)) for name in names]).to(dtype)
            )

        own, *read, last = block.layer
        self.norm = _Norm(own.layer_norm, dtype)
        self.own_in = held(own.SelfAttention, "q", "k", "v")
        self.own_out = held(own.SelfAttention, "o")
        for layer in read:
            self.read_norm = _Norm(layer.layer_norm, dtype)
            self.read_query = held(layer.EncDecAttention, "q")
            keys, values = layer.EncDecAttention.k, layer.EncDecAttention.v
            heads = (layer.EncDecAttention.n_heads, -1)
            self.read_keys = weight_of(keys).unflatten(0, heads)
            self.read_values = weight_of(values).unflatten(0, heads).transpose(1, 2).contiguous()
            self.read_out = held(layer.EncDecAttention, "o")
        dense = last.DenseReluDense
        self.last_norm = _Norm(last.layer_norm, dtype)
        gated = hasattr(dense, "wi_0")
        self.inner = held(dense, "wi_0" if gated else "wi")
        self.gate = held(dense, "wi_1") if gated else None
        self.last = held(dense, "wo")


class _Stack:
    """An encoder or a decoder; its result is in fp32."""

    def __init__(self, stack: Any, dtype: torch.dtype) -> None:
        self.blocks = [_Block(block, dtype) for block in stack.block]
        self.norm = _Norm(stack.final_layer_norm, torch.float32)
        self._bias = stack.block[0].layer[0].SelfAttention.compute_bias
        self._relative = torch.empty(0)

    def relative(self, length: int) -> Tensor:
        """What positions add to scores, of shape [1, heads, length, length], in fp32."""
        if self._relative.shape[-1] != length:
            self._relative = self._bias(length, length)
        return self._relative


def _side_by_side(attended: Tensor) -> Tensor:
    """From [rows, heads, tokens, d_kv] to [rows, tokens, heads x d_kv]."""
    return attended.transpose(1, 2).flatten(2)


def weight_of(module: Any) -> Tensor:
    """The matrix that a layer without bias multiplies by, adapters and quantisation included."""
    if type(module) is nn.Linear:
        return module.weight.detach()
    eye = torch.eye(module.in_features, device=module.weight.device)
    return module(eye).detach().float().T.contiguous()


_ONE_DNN = torch.ops.mkldnn


class _Product:
    """A linear layer without bias.

    On a CPU oneDNN's, with weights in the order that it likes best. torch would take it for bf16
    only, put them in order for each product anew, and go over the result again to activate it.
    """

    def __init__(self, weight: Tensor) -> None:
        self.packed = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self.weight = _ONE_DNN._reorder_linear_weight(weight) if self.packed else weight  # noqa: SLF001

    def __call__(self, values: Tensor, activation: str = "none") -> Tensor:
        if self.packed:
            approximation = "tanh" if activation == "gelu" else ""
            return _ONE_DNN._linear_pointwise(  # noqa: SLF001
                values, self.weight, None, activation, [], approximation
            )
        product = functional.linear(values, self.weight)
        if activation == "gelu":
            product = functional.gelu(product, approximate="tanh")
        return product.relu() if activation == "relu" else product
