"""Exports a fine-tuned T5 to ONNX, as Spark NLP loads it.

The bias of the logits becomes part of the graph, so that plain greedy decoding in any runtime
equals transformers' `generate`. How the graphs are put together is in `serving_graph`; nothing here
needs Spark.
"""

import contextlib
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx.utils
from onnx import ModelProto

from qa_assets.core.files import atomic_directory
from qa_assets.deployment.engines import reshapes, serving_graph
from qa_assets.deployment.quantization import int8
from qa_assets.models import base_model, logit_bias
from qa_assets.models.logit_bias import CONFIG, ExportError
from qa_assets.models.tokens import SPIECE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

ENCODER = "encoder_model.onnx"
DECODER = "decoder_model_merged.onnx"
SENTENCE_PIECE = f"assets/{SPIECE}"

# what Spark NLP's T5Transformer assumes, whatever config.json says
SPARK_NLP_VOCABULARY = 32_128
_SPARK_NLP_CONFIG = {
    "model_type": "t5",
    "d_kv": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}


@dataclass(frozen=True)
class Graphs:
    """A model as ONNX graphs, the decoder split in two as by `serving_graph.split`."""

    encoder: ModelProto
    cross: ModelProto
    step: ModelProto


def export(model_dir: Path, out: Path, *, max_new_tokens: int) -> None:
    """Export the Hugging Face directory of a T5 to ONNX, float32; see `save`.

    Raises:
        ExportError: Spark NLP could not run this model, or a file of it is missing.
        FileExistsError: `out` exists.
    """
    _require_spark_nlp(model_dir)
    bias = logit_bias.token_bias(model_dir)
    graphs = export_graphs(base_model.load(model_dir)[0], model_dir, bias)
    save(graphs, model_dir, out, max_new_tokens=max_new_tokens)


def export_graphs(
    model: "PreTrainedModel", model_dir: Path, token_bias: dict[int, float]
) -> Graphs:
    """Export a model in memory, that of the directory or one with prepared weights.

    The logits include the biases of `logit_bias`; without its exclusions Spark NLP would fail on
    T5's sentinels.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    started = time.monotonic()
    bias = logit_bias.bias_vector(
        token_bias, logit_bias.count_pieces(model_dir), model.config.vocab_size
    )
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        # without validation: optimum's compares logits of random inputs to a fixed tolerance; our
        # tests and parity checks compare outputs. Its post-processing merges what is not used here
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
    cross, step = serving_graph.split(decoder, bias)
    inputs, outputs = (
        [value.name for value in values] for values in (encoder.graph.input, encoder.graph.output)
    )
    encoder = onnx.utils.Extractor(encoder).extract_model(inputs, outputs)
    logger.info("exported %s to ONNX in %.1f s", model_dir, time.monotonic() - started)
    return Graphs(encoder, cross, step)


def quantize(graphs: Graphs, keep: tuple[str, ...]) -> Graphs:
    """The graphs in int8, except products whose names match one of `keep`."""
    return Graphs(**{name: int8.quantize(graph, keep) for name, graph in vars(graphs).items()})


def save(graphs: Graphs, model_dir: Path, out: Path, *, max_new_tokens: int) -> None:
    """Write encoder_model.onnx, decoder_model_merged.onnx, assets/spiece.model and config.json.

    Outputs are cut after `max_new_tokens`, their end included, by the graph itself.

    Raises:
        FileExistsError: `out` exists, and is not empty.
    """
    with atomic_directory(out) as draft:
        onnx.save(serving_graph.source_ids(), draft / ENCODER)
        decoder = serving_graph.join(graphs.encoder, graphs.cross, graphs.step, max_new_tokens)
        onnx.save(decoder, draft / DECODER)
        (draft / SENTENCE_PIECE).parent.mkdir()
        shutil.copy(model_dir / SPIECE, draft / SENTENCE_PIECE)
        shutil.copy(model_dir / CONFIG, draft / CONFIG)


def _require_spark_nlp(model_dir: Path) -> None:
    from transformers import AutoConfig

    logit_bias.require_files(model_dir)
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
    for name, required in _SPARK_NLP_CONFIG.items():
        actual = getattr(config, name, None)
        if actual != required:
            raise ExportError(
                f"{model_dir / CONFIG}: {name} is {actual!r}, but Spark NLP runs T5 models"
                f" with {required!r} only: train a base model that has it"
            )
    if config.vocab_size > SPARK_NLP_VOCABULARY:
        raise ExportError(
            f"{model_dir / CONFIG}: vocab_size is {config.vocab_size}, but Spark NLP runs"
            f" T5 models with {SPARK_NLP_VOCABULARY} tokens at most: train a base model with fewer"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep hints of the exporter that no user can act on out of the log."""
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
