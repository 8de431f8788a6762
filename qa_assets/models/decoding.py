"""Greedy decoding of many sources in batches of similar length: from token ids to token ids.

The loop over tokens is in `greedy`.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any

from qa_assets.models import base_model, t5
from qa_assets.models.tokenization import batches_by_length, pad

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from qa_assets.models.greedy import Decoded, Decoder

logger = logging.getLogger(__name__)
_LOG_SECONDS = 5.0
_MIN_GAP = 0.1
"""Logits between the best token and the next; of 2,000 SQuAD answers bf16 moves 1 % by more."""


def decode(
    model: "PreTrainedModel",
    ids: Sequence[list[int]],
    *,
    batch_size: int,
    precision: str,
    text_start: int = 0,
    **options: Any,
) -> "Iterator[tuple[list[int], Decoded]]":
    """Decode in batches, the longest sources first; logs progress every few seconds.

    The model's `generation_config` applies, calibrated abstention included. Sources of which bf16
    leaves the choice of a token in doubt are decoded again in fp32, in the last batches.

    Args:
        model: on the device to compute on.
        ids: token ids of each source.
        batch_size: sources decoded together.
        precision: see `base_model.dtype`.
        text_start: special tokens that the model puts before a text.
        options: of `model.generate`.

    Yields:
        Numbers of sources, and their outputs; each number once.
    """
    import torch

    start = logged = time.monotonic()
    left, done = list(range(len(ids))), 0
    for dtype in dict.fromkeys([base_model.dtype(model, precision), torch.float32]):
        if not left:
            break
        decoder = decoder_of(model, dtype)
        doubtful: list[int] = []
        for batch in batches_by_length([len(ids[number]) for number in left], batch_size):
            numbers = [left[place] for place in batch]
            decoded = decode_batch(
                model, decoder, [ids[number] for number in numbers], text_start, **options
            )
            if dtype != torch.float32:
                doubt = decoded.min_gaps < _MIN_GAP
                doubtful += compress(numbers, doubt.tolist())
                numbers = list(compress(numbers, (~doubt).tolist()))
                decoded = decoded.rows(~doubt)
            if not numbers:
                continue
            yield numbers, decoded
            done += len(numbers)
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                speed = done / (logged - start)
                logger.info("decoded %d of %d prompts, %.1f prompts/s", done, len(ids), speed)
        left = doubtful


def decoder_of(model: "PreTrainedModel", dtype: "torch.dtype") -> "Decoder":
    """The fastest decoder of a model."""
    if t5.applies_to(model):
        from qa_assets.models.t5.inference import InferenceT5

        return InferenceT5(model, dtype)
    from qa_assets.models.generic import GenericDecoder

    return GenericDecoder(model, dtype)


def decode_batch(
    model: "PreTrainedModel",
    decoder: "Decoder",
    ids: Sequence[list[int]],
    text_start: int = 0,
    **options: Any,
) -> "Decoded":
    """Decode sources together, with the `decoder_of` the model; for arguments see `decode`."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    from qa_assets.models import greedy

    padding = model.config.pad_token_id
    input_ids = pad(ids, padding).to(model.device)
    attention_mask = (input_ids != padding).long()
    with torch.inference_mode():
        encoded = decoder.encode(input_ids, attention_mask)
        decoded: greedy.Decoded = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=attention_mask,
            do_sample=False,
            num_beams=1,
            custom_generate=partial(greedy.search, decoder=decoder, text_start=text_start),
            **options,
        )
    return decoded


def texts_of(tokenizer: "PreTrainedTokenizerBase", sequences: "Tensor") -> list[str]:
    """The texts of token ids, of shape [rows, tokens]."""
    # cleaning up would turn "5 , 6" into "5, 6", which may not stand in the source
    decoded = tokenizer.batch_decode(
        sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in decoded]
