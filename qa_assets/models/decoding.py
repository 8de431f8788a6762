"""Greedy decoding of many sources, from token ids to texts, by transformers or by CTranslate2.

CTranslate2 decodes a T5 on a CPU in a fraction of the time of transformers' `generate`, conversion
included (`benchmarks/decoding.py`); `generate` decodes any encoder-decoder on any device.
"""

import importlib.util
import inspect
import logging
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from qa_assets.models import base_model, ctranslate2, logit_bias
from qa_assets.models.task_model import PredictOptions
from qa_assets.models.tokenization import batches_by_length, pad

logger = logging.getLogger(__name__)
_LOG_SECONDS = 5.0
_CHUNK = 128
"""Sources given to CTranslate2 at once, which returns 130 kB of logits for each token of a T5."""


@dataclass(frozen=True)
class Abstention:
    """What to decode without, and to measure instead.

    Attributes:
        token: that stands for abstaining.
        text_start: special tokens that the model puts before a text.
    """

    token: int
    text_start: int


@dataclass(frozen=True)
class Output:
    """What is decoded of a source.

    Attributes:
        text: without special tokens.
        confidence: product of the token probabilities, the end included; NaN with an `Abstention`.
        margin: logit of the abstention token less the best other one, where the first token of the
            text is chosen; NaN without an `Abstention`.
    """

    text: str
    confidence: float
    margin: float = math.nan


def decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    options: PredictOptions,
    abstention: Abstention | None = None,
) -> list[Output]:
    """Decode by CTranslate2 where it applies, else by `generate`; logs progress.

    The model is without adapters; its `generation_config` applies. With an `abstention` its token
    is left out, and a bias of `sequence_bias`, and margins are measured.
    """
    by_ctranslate2 = (
        model.config.model_type == "t5"
        and model.device.type == "cpu"
        and getattr(tokenizer, "sp_model", None) is not None
        and importlib.util.find_spec("ctranslate2") is not None  # else a bare machine
    )
    decoder = _translated if by_ctranslate2 else _generated
    return _in_order(len(ids), decoder(model, tokenizer, ids, options, abstention))


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    options: PredictOptions,
) -> list[Output]:
    """Decode by transformers' `generate`, which engines are compared with."""
    return _in_order(len(ids), _generated(model, tokenizer, ids, options, None))


_Batches = Iterator[tuple[list[int], list[Output]]]


def _in_order(count: int, batches: _Batches) -> list[Output]:
    outputs: dict[int, Output] = {}
    start = logged = time.monotonic()
    for numbers, batch in batches:
        outputs |= zip(numbers, batch, strict=True)
        if time.monotonic() - logged > _LOG_SECONDS:
            logged = time.monotonic()
            speed = len(outputs) / (logged - start)
            logger.info("decoded %d of %d prompts, %.1f prompts/s", len(outputs), count, speed)
    return [outputs[number] for number in range(count)]


def _generated(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    options: PredictOptions,
    abstention: Abstention | None,
) -> _Batches:
    model.eval()
    settings: dict[str, Any] = {"sequence_bias": None} if abstention else {}
    for numbers in batches_by_length([len(source) for source in ids], options.batch_size):
        input_ids = pad([ids[number] for number in numbers], model.config.pad_token_id)
        input_ids = input_ids.to(model.device)
        recorder = Recorder(model, abstention)
        with torch.inference_mode(), base_model.autocast(model, options.precision):
            sequences = model.generate(
                input_ids=input_ids,
                attention_mask=(input_ids != model.config.pad_token_id).long(),
                do_sample=False,
                num_beams=1,
                max_new_tokens=options.max_new_tokens,
                logits_processor=[recorder],
                **settings,
                **global_attention(model, input_ids),
            )
        nothing = [math.nan] * len(numbers)
        confidences = nothing if abstention else recorder.log_probabilities.exp().tolist()
        margins = recorder.margins.tolist() if abstention else nothing
        yield numbers, list(map(Output, texts_of(tokenizer, sequences), confidences, margins))


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Records what `generate` chooses from in greedy decoding: the last of its processors.

    It removes the abstention token, if there is one to decode without.
    """

    def __init__(self, model: PreTrainedModel, abstention: Abstention | None) -> None:
        self.ends = torch.tensor(model.generation_config.eos_token_id, device=model.device)
        self.abstention = abstention
        self.log_probabilities = self.margins = torch.zeros(0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores of the next token, of shape [rows, vocabulary]."""
        generated = input_ids[:, 1:]  # behind the decoder's start token
        if self.abstention:
            abstaining = scores[:, self.abstention.token].clone()
            scores = scores.clone()
            scores[:, self.abstention.token] = -math.inf
            if generated.shape[1] <= self.abstention.text_start:
                self.margins = abstaining - scores.max(-1).values
        chosen = scores.max(-1).values - scores.logsumexp(-1)
        if not generated.shape[1]:
            self.log_probabilities = torch.zeros_like(chosen)
        unfinished = ~torch.isin(generated, self.ends).any(-1)
        self.log_probabilities += chosen.where(unfinished, 0.0)
        return scores


def global_attention(module: torch.nn.Module, input_ids: Tensor) -> dict[str, Tensor]:
    """Of models with windowed attention (LED): the first token attends to all, and all to it."""
    if "global_attention_mask" not in inspect.signature(module.forward).parameters:
        return {}
    mask = torch.zeros_like(input_ids)
    mask[:, 0] = 1
    return {"global_attention_mask": mask}


def _translated(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[list[int]],
    options: PredictOptions,
    abstention: Abstention | None,
) -> _Batches:
    with tempfile.TemporaryDirectory() as scratch:
        source, converted = Path(scratch) / "model", Path(scratch) / "ctranslate2"
        base_model.save(model, tokenizer, source)
        bias = {} if abstention else logit_bias.token_bias(source)
        ctranslate2.convert(source, converted, token_bias=bias, quantization="float32")
        # another number of threads would become torch's
        loaded = ctranslate2.open_model(converted, threads=torch.get_num_threads())

    def translate(numbers: list[int], **more: Any) -> list[Any]:
        tokens = [tokenizer.convert_ids_to_tokens(ids[number]) for number in numbers]
        return ctranslate2.translate(loaded, tokens, options.max_new_tokens, **more)

    for numbers in batches_by_length([len(source) for source in ids], _CHUNK):
        margins = [math.nan] * len(numbers)
        results = translate(numbers, return_logits_vocab=abstention is not None)
        if abstention:
            logits = np.stack([np.array(result.logits[0][0]) for result in results])
            abstaining = logits[:, abstention.token].copy()
            logits[:, abstention.token] = -np.inf
            margins = (abstaining - logits.max(-1)).tolist()
            # what was decoded is right without abstention, too, where it does not occur
            token = tokenizer.convert_ids_to_tokens(abstention.token)
            again = [n for n, result in enumerate(results) if token in result.hypotheses[0]]
            suppressed = translate([numbers[n] for n in again], suppress_sequences=[[token]])
            for number, result in zip(again, suppressed, strict=True):
                results[number] = result
        sequences = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
        confidences = [math.nan if abstention else math.exp(r.scores[0]) for r in results]
        yield numbers, list(map(Output, texts_of(tokenizer, sequences), confidences, margins))


def texts_of(tokenizer: PreTrainedTokenizerBase, sequences: Any) -> list[str]:
    """The texts of token ids, a row each."""
    # cleaning up would turn "5 , 6" into "5, 6", which may not stand in the source
    decoded = tokenizer.batch_decode(
        sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in decoded]
