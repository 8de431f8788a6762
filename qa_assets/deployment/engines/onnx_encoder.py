"""Encoders as ONNX: export, int8, and classification with ONNX Runtime, without Spark.

An exported directory holds `model.onnx`, `assets/labels.txt` with a label on each line, and what
`pieces` writes. How Spark NLP runs it is in `spark_nlp_encoder`.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper, numpy_helper

from qa_assets.core.examples import Prediction
from qa_assets.core.files import atomic_directory
from qa_assets.deployment.engines import pieces
from qa_assets.deployment.engines.onnx_runtime import in_threads
from qa_assets.deployment.quantization import int8
from qa_assets.models import base_model
from qa_assets.models.logit_bias import CONFIG, ExportError

logger = logging.getLogger(__name__)

MODEL = "model.onnx"
LABELS = "assets/labels.txt"
MULTI_LABEL = "multi_label_classification"
RESERVED_LABEL = "sentence"
"""Spark NLP's probabilities are in a map beside an entry of this name."""
_IDS, _MASK, _SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
_MODEL_IDS = "model_ids"


def export(model_dir: Path, out: Path) -> None:
    """Export a Hugging Face directory of a sequence classifier to ONNX, float32.

    Args:
        model_dir: with a fast tokenizer, and the labels in config.json.
        out: a directory that does not exist, or is empty; written beside and renamed.

    Raises:
        ExportError: Spark NLP could not run this model, or a file of it is missing.
        FileExistsError: `out` exists.
    """
    from optimum.exporters.onnx import onnx_export_from_model

    started = time.monotonic()
    model, tokenizer = base_model.load(model_dir, auto_class="AutoModelForSequenceClassification")
    labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
    if RESERVED_LABEL in labels:
        raise ExportError(
            f"{model_dir / CONFIG}: Spark NLP has a use of its own for a label named "
            f"{RESERVED_LABEL!r}: rename it in the data"
        )
    with tempfile.TemporaryDirectory() as scratch:
        onnx_export_from_model(
            model, Path(scratch), task="text-classification", do_validation=False
        )
        graph = onnx.load(Path(scratch) / MODEL)
    with atomic_directory(out) as draft:
        ids = pieces.save(tokenizer, model.config.vocab_size, draft)
        shutil.copy(model_dir / CONFIG, draft)
        (draft / LABELS).write_text("\n".join(labels), encoding="utf-8")
        _read_as_spark_nlp_does(graph.graph, ids)
        onnx.save(graph, draft / MODEL)
    logger.info("exported %s to ONNX in %.1f s", model_dir, time.monotonic() - started)


def quantize(onnx_dir: Path, out: Path, keep: Iterable[str]) -> None:
    """Write an exported model in int8.

    Args:
        onnx_dir: what `export` wrote.
        out: a directory that does not exist, or is empty; written beside and renamed.
        keep: regular expressions of names of products that stay in full precision.
    """
    with atomic_directory(out) as draft:
        shutil.copytree(onnx_dir, draft, dirs_exist_ok=True)
        onnx.save(int8.quantize(onnx.load(onnx_dir / MODEL), keep), draft / MODEL)


def _read_as_spark_nlp_does(graph: GraphProto, ids: NDArray[np.int64]) -> None:
    """Make a graph read what Spark NLP's BertForSequenceClassification feeds to any model.

    Args:
        graph: gets an input for segments, if it has none, and a look-up of ids.
        ids: of the model, from `pieces.save`.
    """
    if _SEGMENTS not in [value.name for value in graph.input]:
        shape = ["batch_size", "sequence_length"]
        graph.input.append(helper.make_tensor_value_info(_SEGMENTS, TensorProto.INT64, shape))
    for node in graph.node:
        node.input[:] = [_MODEL_IDS if name == _IDS else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(ids, "ids_by_line"))
    graph.node.insert(0, helper.make_node("Gather", ["ids_by_line", _IDS], [_MODEL_IDS]))


class OnnxEncoder:
    """An exported model in memory. Its session is safe to share between threads."""

    def __init__(self, directory: Path, max_tokens: int) -> None:
        """Load what `export` or `quantize` wrote.

        Args:
            directory: of the model.
            max_tokens: longer texts are cut at their end.
        """
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = 1  # `classify` runs several texts in parallel
        self._session = InferenceSession(directory / MODEL, options)
        self._pieces = pieces.Pieces(directory, max_tokens)
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        labels = config["id2label"]
        self._labels = [labels[str(number)] for number in range(len(labels))]
        vocabulary = (directory / pieces.VOCABULARY).read_text(encoding="utf-8").split("\n")
        self._lines = {word: line for line, word in enumerate(vocabulary)}
        self._several = config.get("problem_type") == MULTI_LABEL

    def classify(self, text: str) -> Prediction:
        """The most probable label, and the probability of each."""
        words = [pieces.START, *self._pieces(text), pieces.END]
        ids = np.array([[self._lines[word] for word in words]])
        feeds = {_IDS: ids, _MASK: np.ones_like(ids), _SEGMENTS: np.zeros_like(ids)}
        logits = self._session.run(None, feeds)[0][0].astype(np.float64)  # of shape [labels]
        if self._several:
            probabilities = 1 / (1 + np.exp(-logits))
        else:
            exponents = np.exp(logits - logits.max())
            probabilities = exponents / exponents.sum()
        by_label = dict(zip(self._labels, probabilities.tolist(), strict=True))
        best = self._labels[int(logits.argmax())]
        return Prediction(best, by_label[best], by_label)


load = lru_cache(maxsize=1)(OnnxEncoder)
"""Load a model, or return the model that was loaded last, if it is the same."""


def classify(
    directory: Path, texts: Sequence[str], *, max_tokens: int, threads: int | None = None
) -> list[Prediction]:
    """Classify texts, one by one in each thread; longer ones are cut at their end."""
    return in_threads(load(directory, max_tokens).classify, texts, threads)
