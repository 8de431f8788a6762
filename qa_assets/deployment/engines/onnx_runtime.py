"""ONNX Runtime on the CPU, without Spark.

For checks and for comparing recipes: `serving` runs the same graphs in Spark NLP.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from qa_assets.core.examples import Prediction
from qa_assets.deployment.engines import serving_graph
from qa_assets.deployment.engines.onnx_export import DECODER, ENCODER, SENTENCE_PIECE

logger = logging.getLogger(__name__)

_PAD, _END, _UNKNOWN = 0, 1, 2
_LOG_SECONDS = 5.0
T = TypeVar("T")


class OnnxModel:
    """An exported model in memory. Its sessions are safe to share between threads."""

    def __init__(self, directory: Path) -> None:
        """Load what `onnx_export.save` wrote."""
        from onnxruntime import InferenceSession, SessionOptions
        from sentencepiece import SentencePieceProcessor

        options = SessionOptions()
        options.intra_op_num_threads = 1  # `generate` decodes several sources in parallel
        self.encoder = InferenceSession(directory / ENCODER, options)
        self.decoder = InferenceSession(directory / DECODER, options)
        self.pieces = SentencePieceProcessor(model_file=str(directory / SENTENCE_PIECE))
        self._caches = [value.name for value in self.decoder.get_inputs() if "past" in value.name]

    def generate(self, source: str, max_new_tokens: int) -> str:
        """Decode greedily; a blank source gets an empty text.

        `max_new_tokens` is at most what the graphs were exported with.
        """
        if not source.strip():
            return ""
        ids = self.decode(self.pieces.encode(source) + [_END], max_new_tokens)
        special = (_PAD, _END, _UNKNOWN)
        text: str = self.pieces.decode([token for token in ids if token not in special])
        return text.strip()

    def decode(self, source: list[int], max_new_tokens: int) -> list[int]:
        """The ids of the output for those of a source, an end and more behind it."""
        import numpy as np

        ids = np.array([source], dtype=np.int64)
        mask = np.ones_like(ids)
        (hidden,) = self.encoder.run(None, {"input_ids": ids, "attention_mask": mask})
        feeds: dict[str, Any] = {
            serving_graph.IDS: np.array([[_PAD]], dtype=np.int64),
            serving_graph.MASK: mask,
            serving_graph.HIDDEN: hidden,
            serving_graph.USE_CACHE: np.array([False]),
        }
        feeds |= dict.fromkeys(self._caches, np.zeros((1, 1, 1, 1), dtype=np.float32))
        outputs = [serving_graph.LOGITS, serving_graph.IDS_LEFT]
        logits, left = self.decoder.run(outputs, feeds)
        return [int(logits.argmax()), *left.astype(int).flatten().tolist()][:max_new_tokens]


load = lru_cache(maxsize=1)(OnnxModel)
"""Load a model, or return the model that was loaded last, if it is the same."""


def generate(
    directory: Path, sources: Sequence[str], *, max_new_tokens: int, threads: int | None = None
) -> list[Prediction]:
    """Decode sources greedily, one by one in each thread; without confidences.

    A blank source gets an empty text. `max_new_tokens` is of an output, its end included.
    """
    model = load(directory)
    texts = in_threads(lambda source: model.generate(source, max_new_tokens), sources, threads)
    return list(map(Prediction, texts))


def in_threads(ask: Callable[[str], T], sources: Sequence[str], threads: int | None) -> list[T]:
    """What a model says to each source, in so many threads or as many as cores; logs progress."""
    outputs: list[T] = []
    logged = time.monotonic()
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        for output in pool.map(ask, sources):
            outputs.append(output)
            if time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                logger.info("%d of %d outputs by ONNX Runtime", len(outputs), len(sources))
    return outputs
