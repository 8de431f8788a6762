"""Answers of any Hugging Face directory: text-to-text models by our prompt, others by span."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qa_assets.training.config import TrainingConfig

_log = logging.getLogger(__name__)
_BATCH = 16
_LOG_SECONDS = 5.0


class ModelError(ValueError):
    """A directory that holds no model which answers questions; the message names it and why."""


def answers(
    model: Path, rows: Sequence[Mapping[str, Any]], no_answer: str
) -> tuple[list[str], list[float]]:
    """What a model answers to questions, and how sure it is from 0 to 1; "" where it abstains.

    Args:
        model: of an encoder-decoder, or of an architecture `…ForQuestionAnswering`.
        rows: with `question`, `context` and `source`.
        no_answer: what a text-to-text model says to abstain, unless it knows.

    Raises:
        ModelError: there is no such directory, it cannot be loaded, or is of another architecture.
    """
    from transformers import AutoConfig

    if not model.is_dir():
        raise ModelError(f"{model}: there is no such directory")
    if not (model / "config.json").is_file():
        raise ModelError(f"{model}: lacks config.json, so it is no Hugging Face directory")
    try:
        config = AutoConfig.from_pretrained(str(model.absolute()), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{model}: its config.json cannot be read ({_first_line(error)})"
        ) from error
    architecture = (config.architectures or ["none"])[0]
    if architecture.endswith("ForQuestionAnswering"):
        return _spans(model.absolute(), rows)
    if config.is_encoder_decoder:
        return _texts(model.absolute(), rows, no_answer)
    raise ModelError(
        f"{model}: its architecture {architecture} does not answer questions; wanted is an "
        "encoder-decoder, or one for question answering"
    )


def _texts(
    model: Path, rows: Sequence[Mapping[str, Any]], no_answer: str
) -> tuple[list[str], list[float]]:
    from qa_assets.models import base_model, decoding
    from qa_assets.training import calibration

    ours = (model / "spiece.model").is_file()  # else of another family, with another tokenizer
    other = partial(_tokenizer, split_special_tokens=True)
    loaded, tokenizer = _load(
        "AutoModelForSeq2SeqLM", model, base_model.load_tokenizer if ours else other
    )
    return decoding.answer(
        loaded,
        tokenizer,
        [row["source"] for row in rows],
        calibration.read_null_text(model) or no_answer,
        **TrainingConfig().answering,
    )


def _spans(model: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[float]]:
    """The best span of each context, or the null span, in windows of the model's length."""
    from transformers import QuestionAnsweringPipeline

    loaded, tokenizer = _load("AutoModelForQuestionAnswering", model, _tokenizer)
    ask = QuestionAnsweringPipeline(loaded, tokenizer, handle_impossible_answer=True)
    said, confidences = [""] * len(rows), [1.0] * len(rows)
    todo = [i for i, row in enumerate(rows) if row["question"].strip() and row["context"].strip()]
    start = logged = time.monotonic()
    for first in range(0, len(todo), _BATCH):
        numbers = todo[first : first + _BATCH]
        asked = {key: [rows[i][key] for i in numbers] for key in ("question", "context")}
        found = ask(**asked, batch_size=_BATCH)
        for number, one in zip(numbers, found if len(numbers) > 1 else [found], strict=True):
            said[number], confidences[number] = one["answer"].strip(), min(1.0, one["score"])
        if time.monotonic() - logged > _LOG_SECONDS:
            logged = time.monotonic()
            done = first + len(numbers)
            _log.info(
                "answered %d of %d, %.1f questions/s", done, len(todo), done / (logged - start)
            )
    return said, confidences


def _load(auto_class: str, model: Path, load_tokenizer: Callable[[Path], Any]) -> tuple[Any, Any]:
    """Model and tokenizer, in fp32; weights as safetensors only."""
    import transformers

    try:
        tokenizer = load_tokenizer(model)
        loaded = getattr(transformers, auto_class).from_pretrained(
            str(model), dtype="float32", use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # safetensors, JSON and the tokenizers each raise their own
        raise ModelError(f"{model}: cannot be loaded ({_first_line(error)})") from error
    return loaded.eval(), tokenizer


def _tokenizer(model: Path, **options: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(model), local_files_only=True, **options)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
