"""Greedy decoding of many sources, and answers by it: of long contexts the best window's.

Nothing is cut off a source: T5's relative positions cope with more than training showed, and Spark
NLP, whose answers must be the same, cuts nothing either.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qa_assets.squad.windows import best
from qa_assets.training import base_model, features

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_log = logging.getLogger(__name__)
_LOG_SECONDS = 5.0


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
        precision: `auto`, `fp32` or `bf16`, see `base_model.autocast`.

    Returns:
        Texts in the order of `sources`.
    """
    texts = [""] * len(sources)
    for numbers, output in decode(
        model,
        tokenizer,
        _ids(tokenizer, sources),
        batch_size=batch_size,
        precision=precision,
        max_new_tokens=max_new_tokens,
    ):
        for number, text in zip(numbers, texts_of(tokenizer, output), strict=True):
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
    for numbers, output in decode(model, tokenizer, ids, output_scores=True, **options):
        probabilities = _probabilities(output, tokenizer.eos_token_id)
        said = texts_of(tokenizer, output)
        for number, text, probability in zip(numbers, said, probabilities, strict=True):
            texts[number], confidences[number] = text, probability
    return texts, confidences


def _probabilities(output: Any, end: int) -> list[float]:
    """The probability of each sequence of a batch, up to and including its end."""
    tokens = output.sequences[:, 1:]  # the first is what decoding starts with
    total = tokens.new_zeros(len(tokens), dtype=output.scores[0].dtype)
    unfinished = total == 0
    for column, scores in enumerate(output.scores):
        token = tokens[:, column]
        chosen = scores.log_softmax(dim=-1).gather(1, token[:, None])[:, 0]
        total += chosen.where(unfinished, 0.0)  # what follows the end is padding
        unfinished = unfinished & (token != end)
    probabilities: list[float] = total.exp().tolist()
    return probabilities


def decode(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    ids: Sequence[list[int]],
    *,
    batch_size: int,
    precision: str,
    **options: Any,
) -> Iterator[tuple[list[int], Any]]:
    """Decode in batches, the longest sources first; logs progress every few seconds.

    Args:
        model: as in `generate`.
        tokenizer: the model's.
        ids: token ids of each source.
        batch_size: sources decoded together.
        precision: see `base_model.autocast`.
        options: of `model.generate`.

    Yields:
        The numbers of a batch's sources, and what `model.generate` returned as a dictionary.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    from qa_assets.training.fast_t5 import FastT5

    start = logged = time.monotonic()
    done = 0
    fast = FastT5(model).eval()
    for numbers in features.batches_by_length([len(one) for one in ids], batch_size):
        input_ids = features.pad([ids[number] for number in numbers], tokenizer.pad_token_id)
        input_ids = input_ids.to(model.device)
        attention_mask = (input_ids != tokenizer.pad_token_id).long()
        with torch.inference_mode(), base_model.autocast(model, precision):
            encoded = fast.encode(input_ids, attention_mask)
            output = model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
                attention_mask=attention_mask,
                do_sample=False,
                num_beams=1,
                use_cache=True,
                return_dict_in_generate=True,
                **options,
            )
        yield numbers, output
        done += len(numbers)
        if time.monotonic() - logged > _LOG_SECONDS:
            logged = time.monotonic()
            _log.info(
                "answered %d of %d, %.1f a second",
                done, len(ids), done / (logged - start),
            )  # fmt: skip


def texts_of(tokenizer: "PreTrainedTokenizerBase", output: Any) -> list[str]:
    """The texts of a batch that was decoded."""
    # cleaning up would take the space out of "5 , 6", which is not what the context says
    decoded = tokenizer.batch_decode(
        output.sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in decoded]


def to_answers(texts: Sequence[str], null_text: str) -> list[str]:
    """What a model said as answers: the empty string, SQuAD's abstention, for `null_text`."""
    return ["" if text.strip().lower() == null_text.lower() else text.strip() for text in texts]
