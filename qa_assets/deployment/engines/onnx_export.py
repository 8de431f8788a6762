"""Exports a fine-tuned T5 to ONNX as Spark NLP wants it.

What the model's generation config adds to the logits (`sequence_bias`, our calibrated abstention)
becomes part of the graph, so that plain greedy decoding in any runtime equals transformers'
`generate`. Knows nothing of Spark.
"""

import contextlib
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.deployment.atomic import atomic_directory
from qa_assets.deployment.engines import reshapes, serving_graph
from qa_assets.deployment.engines.ctranslate2 import NEVER
from qa_assets.deployment.quantization import int8

if TYPE_CHECKING:
    from onnx import ModelProto
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

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


class ExportError(ValueError):
    """A model that cannot be exported; the message says what about it and the remedy."""


@dataclass(frozen=True)
class Graphs:
    """A model as ONNX graphs, the decoder in the two halves of `serving_graph`."""

    encoder: "ModelProto"
    cross: "ModelProto"
    step: "ModelProto"


def export(model_dir: Path, out: Path) -> None:
    """Export a Hugging Face directory to ONNX, float32.

    Args:
        model_dir: a T5ForConditionalGeneration with spiece.model.
        out: a directory that does not exist, or is empty; see `save`.

    Raises:
        ExportError: Spark NLP could not run this model, or a file of it is missing.
        FileExistsError: `out` exists.
    """
    from transformers import AutoModelForSeq2SeqLM

    bias = token_bias(model_dir)
    model = AutoModelForSeq2SeqLM.from_pretrained(model_dir, dtype="float32", local_files_only=True)
    save(graphs_of(model.eval(), model_dir, bias), model_dir, out)


def token_bias(model_dir: Path) -> dict[int, float]:
    """What a model adds to the logits of tokens, by id.

    Raises:
        ExportError: Spark NLP could not run this model, or a file of it is missing.
    """
    from transformers import GenerationConfig

    config = _read_config(model_dir)
    generation = GenerationConfig.from_pretrained(model_dir, local_files_only=True)
    return _token_bias(generation, min(_pieces(model_dir), config.vocab_size))


def graphs_of(model: "PreTrainedModel", model_dir: Path, bias: dict[int, float]) -> Graphs:
    """Export a model in memory.

    The logits have the biases added, and as good as exclude ids that are no piece of the
    SentencePiece model: padding, and T5's sentinels, on the first of which Spark NLP fails.

    Args:
        model: a T5 in full precision: that of the directory, or one that was smoothed.
        model_dir: has spiece.model.
        bias: from `token_bias`.
    """
    import numpy as np
    import onnx.utils
    from optimum.exporters.onnx import onnx_export_from_model

    started = time.monotonic()
    biases = np.zeros(model.config.vocab_size, dtype=np.float32)
    biases[_pieces(model_dir) :] = NEVER
    for token, value in bias.items():
        biases[token] = value
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        # optimum's validation compares logits of random inputs to a fixed tolerance; our tests and
        # the parity check compare answers instead. Its post-processing merges what is not used here
        onnx_export_from_model(
            model,
            Path(scratch),
            task="text2text-generation-with-past",
            do_validation=False,
            no_post_process=True,
        )
        encoder, decoder = (
            onnx.load(Path(scratch) / name) for name in (ENCODER, "decoder_model.onnx")
        )
    for graph in (encoder, decoder):
        reshapes.keep_first_axes(graph)
    cross, step = serving_graph.halves(decoder, biases)
    inputs, outputs = (
        [one.name for one in ends] for ends in (encoder.graph.input, encoder.graph.output)
    )
    encoder = onnx.utils.Extractor(encoder).extract_model(inputs, outputs)
    logger.info("exported %s to ONNX in %.1f s", model_dir, time.monotonic() - started)
    return Graphs(encoder, cross, step)


def quantize(graphs: Graphs, keep: tuple[str, ...]) -> Graphs:
    """The graphs in int8, but for the products whose names match one of `keep`."""
    done = {name: int8.quantize(graph, keep) for name, graph in vars(graphs).items()}
    return replace(graphs, **done)


def save(graphs: Graphs, model_dir: Path, out: Path) -> None:
    """Write encoder_model.onnx, decoder_model_merged.onnx, assets/spiece.model and config.json.

    Args:
        graphs: from `graphs_of` or `quantize`.
        model_dir: of the Hugging Face model.
        out: a directory that does not exist, or is empty; written beside and renamed.

    Raises:
        FileExistsError: `out` exists.
    """
    import onnx

    with atomic_directory(out) as draft:
        onnx.save(serving_graph.pass_on(), draft / ENCODER)
        onnx.save(serving_graph.join(graphs.encoder, graphs.cross, graphs.step), draft / DECODER)
        (draft / SENTENCE_PIECE).parent.mkdir()
        shutil.copy(model_dir / "spiece.model", draft / SENTENCE_PIECE)
        shutil.copy(model_dir / CONFIG, draft / CONFIG)


def _pieces(model_dir: Path) -> int:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(model_dir / "spiece.model"))
    number: int = processor.get_piece_size()
    return number


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
