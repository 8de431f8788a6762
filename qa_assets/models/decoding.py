"""Greedy decoding of many sources, and answers by it: of long contexts the best window's.

Nothing is cut off a source: T5's relative positions cope with more than training showed, and Spark
NLP, whose answers must be the same, cuts nothing either.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

from qa_assets.models import base_model
from qa_assets.tasks.question_answering.windows import best
from qa_assets.training import features

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from qa_assets.models.t5.greedy import Decoded
    from qa_assets.models.t5.inference import InferenceT5

_log = logging.getLogger(__name__)
_LOG_SECONDS = 5.0
_DOUBT = 0.1
"""Logits between the best token and the next; of 2,000 SQuAD answers bf16 moves 1 % by more."""


def answer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    null_text: str,
    *,
    max_new_tokens: int,
    batch_size: int,
    max_source_tokens: int,
    window_overlap_tokens: int,
    precision: str = "auto",
) -> tuple[list[str], list[float]]:
    """Answer every source; a longer one by that of its windows which `windows.best` finds.

    Args:
        model: as in `generate`, like the other arguments that are not listed here.
        tokenizer: the model's.
        sources: of `prompts.source_text`.
        null_text: what the model says to abstain.
        max_new_tokens: tokens of an answer at most, the end of the sequence included.
        batch_size: windows decoded together.
        max_source_tokens: longer sources become windows of so many tokens.
        window_overlap_tokens: that neighbouring windows share.
        precision: `auto`, `fp32` or `bf16`.

    Returns:
        Answers in the order of `sources`, "" where the model abstains, and how probable the model
        holds each, from 0 to 1: the product of its tokens', the end included, with its biases.
    """
    windows = features.encode_sources(sources, tokenizer, max_source_tokens, window_overlap_tokens)
    texts, confidences = _said(
        model,
        tokenizer,
        [window.ids for one in windows for window in one],
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        precision=precision,
    )
    answers = to_answers(texts, null_text)
    chosen = []
    first = 0
    for one in windows:
        after = first + len(one)
        chosen.append(first + best(answers[first:after], confidences[first:after]))
        first = after
    return [answers[number] for number in chosen], [confidences[number] for number in chosen]


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sources: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    precision: str = "auto",
) -> list[str]:
    """Answer every source greedily, with a KV cache, in batches of similar length.

    The model's `generation_config` is honoured, its `sequence_bias` (the calibrated abstention)
    included.

    Args:
        model: on the device to compute on.
        tokenizer: the model's.
        sources: any number of texts.
        max_new_tokens: tokens of an answer at most, the end of the sequence included.
        batch_size: sources decoded together.
        precision: `auto`, `fp32` or `bf16`, see `base_model.dtype`.

    Returns:
        Texts in the order of `sources`.
    """
    texts = [""] * len(sources)
    for numbers, decoded in decode(
        model,
        tokenizer,
        _ids(tokenizer, sources),
        batch_size=batch_size,
        precision=precision,
        max_new_tokens=max_new_tokens,
    ):
        for number, text in zip(numbers, texts_of(tokenizer, decoded.sequences), strict=True):
            texts[number] = text
    return texts


def _ids(tokenizer: "PreTrainedTokenizerBase", sources: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(list(sources), verbose=False)["input_ids"] if sources else []
    return ids


def _said(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    ids: Sequence[list[int]],
    **options: Any,
) -> tuple[list[str], list[float]]:
    """The greedy texts for token ids, and their probabilities."""
    texts, confidences = [""] * len(ids), [0.0] * len(ids)
    for numbers, decoded in decode(model, tokenizer, ids, **options):
        probabilities = decoded.log_probabilities.exp().tolist()
        said = texts_of(tokenizer, decoded.sequences)
        for number, text, probability in zip(numbers, said, probabilities, strict=True):
            texts[number], confidences[number] = text, probability
    return texts, confidences


def decode(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    ids: Sequence[list[int]],
    *,
    batch_size: int,
    precision: str,
    **options: Any,
) -> "Iterator[tuple[list[int], Decoded]]":
    """Decode in batches, the longest sources first; logs progress every few seconds.

    What bf16 leaves in doubt is decoded again in fp32, in the last batches.

    Args:
        model: as in `generate`.
        tokenizer: the model's.
        ids: token ids of each source.
        batch_size: sources decoded together.
        precision: see `base_model.dtype`.
        options: of `model.generate`.

    Yields:
        The numbers of some sources, and what was said to them; each number once.
    """
    import torch

    from qa_assets.models.t5.inference import InferenceT5

    start = logged = time.monotonic()
    left, done = list(range(len(ids))), 0
    for dtype in dict.fromkeys([base_model.dtype(model, precision), torch.float32]):
        if not left:
            break
        fast = InferenceT5(model, dtype)
        doubtful: list[int] = []
        for batch in features.batches_by_length([len(ids[number]) for number in left], batch_size):
            numbers = [left[place] for place in batch]
            decoded = decode_batch(model, fast, [ids[number] for number in numbers], **options)
            if dtype != torch.float32:
                doubt = decoded.lead < _DOUBT
                doubtful += compress(numbers, doubt.tolist())
                numbers = list(compress(numbers, (~doubt).tolist()))
                decoded = decoded.of(~doubt)
            if not numbers:
                continue
            yield numbers, decoded
            done += len(numbers)
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                _log.info(
                    "answered %d of %d, %.1f a second",
                    done, len(ids), done / (logged - start),
                )  # fmt: skip
        left = doubtful


def decode_batch(
    model: "PreTrainedModel", fast: "InferenceT5", ids: Sequence[list[int]], **options: Any
) -> "Decoded":
    """Decode sources together.

    Args:
        model: its generation config counts.
        fast: made of it.
        ids: token ids of each source.
        options: of `model.generate`.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    from qa_assets.models.t5 import greedy

    padding = model.config.pad_token_id
    input_ids = features.pad(ids, padding).to(model.device)
    attention_mask = (input_ids != padding).long()
    with torch.inference_mode():
        encoded = fast.encode(input_ids, attention_mask)
        decoded: greedy.Decoded = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=attention_mask,
            do_sample=False,
            num_beams=1,
            custom_generate=partial(greedy.search, fast=fast),
            **options,
        )
    return decoded


def texts_of(tokenizer: "PreTrainedTokenizerBase", sequences: "Tensor") -> list[str]:
    """The texts of token ids, of shape [rows, tokens]."""
    # cleaning up would take the space out of "5 , 6", which is not what the context says
    decoded = tokenizer.batch_decode(
        sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in decoded]


def to_answers(texts: Sequence[str], null_text: str) -> list[str]:
    """What a model said as answers: the empty string, SQuAD's abstention, for `null_text`."""
    return ["" if text.strip().lower() == null_text.lower() else text.strip() for text in texts]
