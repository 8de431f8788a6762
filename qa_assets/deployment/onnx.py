"""Exports a fine-tuned T5 to ONNX as Spark NLP wants it, and answers by ONNX Runtime.

What the model's generation config adds to the logits (`sequence_bias`, our calibrated abstention)
becomes part of the graph, so that plain greedy decoding in any runtime equals transformers'
`generate`. Knows nothing of Spark.
"""

import contextlib
import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.deployment.atomic import atomic_directory
from qa_assets.training.base_model import load_tokenizer

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig

logger = logging.getLogger(__name__)

ENCODER = "encoder_model.onnx"
DECODER = "decoder_model_merged.onnx"
SENTENCE_PIECE = "assets/spiece.model"
CONFIG = "config.json"

# What Spark NLP's T5Transformer takes for granted, whatever the model says.
SPARK_NLP_VOCABULARY = 32_128
_SPARK_NLP_CONFIG = {
    "model_type": "t5",
    "d_kv": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
_NEVER = -1e9  # finite, for quantisers that measure ranges


class ExportError(ValueError):
    """A model that cannot be exported; the message says what about it and the remedy."""


@dataclass(frozen=True)
class OnnxExport:
    """What was exported: the directory, its pieces, biases by token id, size."""

    directory: Path
    pieces: int
    token_bias: dict[int, float]
    size_bytes: int


def export(model_dir: Path, out: Path) -> OnnxExport:
    """Export a Hugging Face directory to ONNX, float32.

    `out` gets encoder_model.onnx, decoder_model_merged.onnx, assets/spiece.model and what
    optimum's `ORTModelForSeq2SeqLM` and `AutoTokenizer` need. The decoder's `logits`, of shape
    (batch, length, vocabulary), have the token biases of the generation config added, and as good
    as exclude ids that are no piece of the SentencePiece model: padding, and T5's sentinels, on
    the first of which Spark NLP fails.

    Args:
        model_dir: a T5ForConditionalGeneration with its tokenizer and spiece.model.
        out: a directory that does not exist, or is empty; written beside and renamed.

    Raises:
        ExportError: Spark NLP could not run this model, or a file of it is missing.
        FileExistsError: `out` exists.
    """
    from sentencepiece import SentencePieceProcessor
    from transformers import GenerationConfig

    config = _read_config(model_dir)
    pieces = SentencePieceProcessor(model_file=str(model_dir / "spiece.model")).get_piece_size()
    generation = GenerationConfig.from_pretrained(model_dir, local_files_only=True)
    token_bias = _token_bias(generation, min(pieces, config.vocab_size))
    with atomic_directory(out) as draft, _quiet():
        started = time.monotonic()
        _export_graphs(model_dir, draft)
        _bias_logits(draft / DECODER, pieces, token_bias)
        generation.sequence_bias = None  # it is in the graph from here on
        generation.save_pretrained(draft)
        (draft / "tokenizer.json").unlink(missing_ok=True)  # optimum's copy of the fast one
        load_tokenizer(model_dir).save_pretrained(draft)
        (draft / SENTENCE_PIECE).parent.mkdir()
        shutil.copy(draft / "spiece.model", draft / SENTENCE_PIECE)
        size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    logger.info(
        "exported %s to ONNX: %.1f MB in %.1f s", model_dir, size / 1e6, time.monotonic() - started
    )
    return OnnxExport(out, pieces, token_bias, size)


def answer(
    onnx_dir: Path,
    sources: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 8,
) -> list[str]:
    """Answer by ONNX Runtime on the CPU, greedily.

    Args:
        onnx_dir: what `export` wrote.
        sources: model inputs; a blank one gets an empty answer.
        max_new_tokens: longest answer, in tokens.
        batch_size: sources decoded at once, padded to the longest.

    Returns:
        One answer a source, in order.
    """
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    model = ORTModelForSeq2SeqLM.from_pretrained(onnx_dir, local_files_only=True)
    # optimum takes it for d_model / heads, which it is not in Flan-T5-small
    model.decoder.embed_size_per_head = model.config.d_kv
    tokenizer = load_tokenizer(onnx_dir)
    answers = [""] * len(sources)
    todo = [index for index, source in enumerate(sources) if source.strip()]
    todo.sort(key=lambda index: len(sources[index]))  # less padding
    reported = time.monotonic()
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        inputs = tokenizer(
            [sources[index] for index in batch],
            padding=True,
            return_tensors="pt",
            verbose=False,  # no hint that a source is long
        )
        tokens = model.generate(
            **inputs, max_new_tokens=max_new_tokens, num_beams=1, do_sample=False
        )
        texts = tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text.strip()
        if time.monotonic() - reported > 2:
            reported = time.monotonic()
            logger.info("answered %d of %d by ONNX Runtime", start + len(batch), len(todo))
    return answers


def _read_config(model_dir: Path) -> "PretrainedConfig":
    from transformers import AutoConfig

    for name in (CONFIG, "generation_config.json", "spiece.model"):
        if not (model_dir / name).is_file():
            raise ExportError(f"{model_dir} has no {name}: give the directory of a T5 model")
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
    for name, wanted in _SPARK_NLP_CONFIG.items():
        found = getattr(config, name, None)
        if found != wanted:
            raise ExportError(
                f"{model_dir / CONFIG}: {name} is {found!r}, but Spark NLP runs T5 models"
                f" with {wanted!r} only: train a base model that has it"
            )
    if config.vocab_size > SPARK_NLP_VOCABULARY:
        raise ExportError(
            f"{model_dir / CONFIG}: vocab_size is {config.vocab_size}, but Spark NLP runs"
            f" T5 models with {SPARK_NLP_VOCABULARY} tokens at most: train a base model with fewer"
        )
    return config


def _export_graphs(model_dir: Path, draft: Path) -> None:
    """Write the encoder and the merged decoder, as optimum makes them."""
    import torch
    from optimum.exporters.onnx import onnx_export_from_model
    from transformers import AutoModelForSeq2SeqLM

    model = AutoModelForSeq2SeqLM.from_pretrained(
        model_dir, dtype=torch.float32, local_files_only=True
    )
    # optimum's validation compares logits of random inputs to a fixed tolerance; our tests and the
    # parity check compare answers instead
    onnx_export_from_model(
        model.eval(), draft, task="text2text-generation-with-past", do_validation=False
    )
    for name in ("decoder_model.onnx", "decoder_with_past_model.onnx"):
        (draft / name).unlink()  # both are in the merged one


def _token_bias(generation: "GenerationConfig", pieces: int) -> dict[int, float]:
    """Biases by token id, from `sequence_bias` as a list of [sequence, bias] or a mapping."""
    bias: Any = generation.sequence_bias or []
    entries = bias.items() if isinstance(bias, dict) else bias
    result = {}
    for sequence, value in entries:
        if len(sequence) != 1 or not 0 <= sequence[0] < pieces:
            raise ExportError(
                f"generation_config.json: sequence_bias of {list(sequence)}: only a sequence of one"
                f" token, an id below {pieces}, can become part of the graph"
            )
        result[int(sequence[0])] = float(value)
    return result


def _bias_logits(path: Path, pieces: int, token_bias: dict[int, float]) -> None:
    """Add the biases to the merged decoder's logits, once, behind its two branches."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    logits = next(output for output in model.graph.output if output.name == "logits")
    bias = np.zeros(logits.type.tensor_type.shape.dim[2].dim_value, dtype=np.float32)
    for token, value in token_bias.items():
        bias[token] = value
    bias[pieces:] = _NEVER

    branches = next(node for node in model.graph.node if node.op_type == "If")
    branches.output[list(branches.output).index("logits")] = "unbiased_logits"
    model.graph.initializer.append(numpy_helper.from_array(bias, "logits_bias"))
    model.graph.node.append(
        helper.make_node("Add", ["unbiased_logits", "logits_bias"], ["logits"], name="bias_logits")
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's hints, which nobody can act on, off the log."""
    from optimum.utils import logging as optimum_logging
    from torch.jit import TracerWarning
    from transformers.utils import logging as transformers_logging

    loggers = (optimum_logging, transformers_logging)
    levels = [library.get_verbosity() for library in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            for library in loggers:
                library.set_verbosity_error()
            yield
        finally:
            for library, level in zip(loggers, levels, strict=True):
                library.set_verbosity(level)
