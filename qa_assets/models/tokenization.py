"""From examples to token ids: tokenising, windows for long prompts, cutting, padding.

How an example becomes prompts is in its task; counting tokens without transformers in `tokens`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from qa_assets.core.examples import Budget, Example, Prompt
from qa_assets.core.task import Task


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt, and the token ids of its source."""

    ids: list[int]
    prompt: Prompt


def encode_prompts(
    task: Task,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_source_tokens: int,
    window_overlap_tokens: int,
) -> list[list[EncodedPrompt]]:
    """The prompts of each example: one, or windows if it is too long. Nothing is cut here.

    `max_source_tokens` includes special tokens; `window_overlap_tokens` neighbouring windows share.
    """

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in encode(tokenizer, texts, special=False)]

    # a budget includes one special token
    others = tokenizer.num_special_tokens_to_add() - 1
    budget = Budget(count, max_source_tokens - others, window_overlap_tokens)
    whole = [prompt for example in examples for prompt in task.prompts(example)]
    encoded: list[list[EncodedPrompt]] = []
    sources = encode(tokenizer, [prompt.source for prompt in whole])
    for example, prompt, ids in zip(examples, whole, sources, strict=True):
        if len(ids) <= max_source_tokens:
            encoded.append([EncodedPrompt(ids, prompt)])
            continue
        windows = task.prompts(example, budget)
        texts = encode(tokenizer, [window.source for window in windows])
        encoded.append(list(map(EncodedPrompt, texts, windows)))
    return encoded


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool = True
) -> list[list[int]]:
    """Token ids of each text, however long, with special tokens or without."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=special, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def cut(ids: Sequence[list[int]], max_tokens: int) -> tuple[list[list[int]], int]:
    """Token ids with at most so many before their last, the end; and how many were too long."""
    short = [tokens if len(tokens) <= max_tokens else [*tokens[: max_tokens - 1], tokens[-1]]
             for tokens in ids]  # fmt: skip
    return short, sum(len(tokens) > max_tokens for tokens in ids)


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the vocabulary and of whatever else decides how texts become token ids."""
    sentencepiece = getattr(tokenizer, "sp_model", None)
    if sentencepiece is not None:
        content: bytes = sentencepiece.serialized_model_proto()
    elif tokenizer.is_fast:
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        # state of the last call
        content = json.dumps(state | {"truncation": None, "padding": None}).encode()
    else:
        content = json.dumps(sorted(tokenizer.get_vocab().items())).encode()
    return hashlib.sha256(content).hexdigest()


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches of row numbers, the longest first, so that memory runs out at once or never."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def pad(ids: Sequence[list[int]], value: int) -> torch.Tensor:
    """Token ids as one tensor of shape [rows, longest row], `value` on the right."""
    longest = max(map(len, ids))
    return torch.tensor([row + [value] * (longest - len(row)) for row in ids])
