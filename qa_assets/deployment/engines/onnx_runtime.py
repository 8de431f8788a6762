"""Answers by ONNX Runtime on the CPU, step by step as Spark NLP does it, but without Spark."""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from qa_assets.deployment.engines import serving_graph
from qa_assets.deployment.engines.onnx_export import DECODER, ENCODER, SENTENCE_PIECE

logger = logging.getLogger(__name__)

_PAD, _END, _UNKNOWN = 0, 1, 2


class OnnxModel:
    """An exported model in memory. Its sessions are safe to share between threads."""

    def __init__(self, directory: Path) -> None:
        """Load what `onnx.export` or `quantization.quantize` wrote."""
        from onnxruntime import InferenceSession, SessionOptions
        from sentencepiece import SentencePieceProcessor

        options = SessionOptions()
        options.intra_op_num_threads = 1  # questions are the parallelism
        self.encoder = InferenceSession(directory / ENCODER, options)
        self.decoder = InferenceSession(directory / DECODER, options)
        self._pieces = SentencePieceProcessor(model_file=str(directory / SENTENCE_PIECE))
        names = [given.name for given in self.decoder.get_inputs() if "past" in given.name]
        self._of_encoder = [name for name in names if ".encoder." in name]
        self._ids, *self._unused = [name for name in names if ".decoder." in name]

    def answer(self, source: str, max_new_tokens: int) -> str:
        """Answer one source greedily; a blank one gets an empty answer."""
        if not source.strip():
            return ""
        ids = self._decode(self._pieces.encode(source) + [_END], max_new_tokens)
        text: str = self._pieces.decode([one for one in ids if one not in (_PAD, _END, _UNKNOWN)])
        return text.strip()

    def _decode(self, source: list[int], max_new_tokens: int) -> list[int]:
        import numpy as np

        ids = np.array([source], dtype=np.int64)
        mask = np.ones_like(ids)
        (hidden,) = self.encoder.run(None, {"input_ids": ids, "attention_mask": mask})
        nothing = np.zeros((1, 1, 1, 1), dtype=np.float32)
        feeds: dict[str, Any] = {
            serving_graph.MASK: mask,
            serving_graph.HIDDEN: hidden,
            serving_graph.USE_CACHE: np.array([False]),
        }
        feeds |= dict.fromkeys([self._ids, *self._unused, *self._of_encoder], nothing)
        said: list[int] = []
        for _ in range(max_new_tokens):
            feeds[serving_graph.IDS] = np.array([[said[-1] if said else _PAD]], dtype=np.int64)
            wanted = [self._ids] if said else [self._ids, *self._of_encoder]
            outputs = [name.replace("past_key_values", "present") for name in wanted]
            logits, *kept = self.decoder.run([serving_graph.LOGITS, *outputs], feeds)
            feeds |= dict(zip(wanted, kept, strict=True))
            feeds[serving_graph.USE_CACHE] = np.array([True])
            said.append(int(logits[0, -1].argmax()))
            if said[-1] == _END:
                break
        return said


@lru_cache(maxsize=1)
def load(directory: Path) -> OnnxModel:
    """Load a model, or take the one that was loaded last."""
    return OnnxModel(directory)


def answer(
    directory: Path, sources: Sequence[str], *, max_new_tokens: int, threads: int | None = None
) -> list[str]:
    """Answer sources one by one, as many at a time as there are cores.

    Args:
        directory: what `onnx.export` or `quantization.quantize` wrote.
        sources: model inputs; a blank one gets an empty answer.
        max_new_tokens: longest answer, in tokens.
        threads: that answer; all cores if None.

    Returns:
        One answer a source, in order.
    """
    model = load(directory)
    answers: list[str] = []
    reported = time.monotonic()
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        for text in pool.map(lambda source: model.answer(source, max_new_tokens), sources):
            answers.append(text)
            if time.monotonic() - reported > 5:
                reported = time.monotonic()
                logger.info("answered %d of %d by ONNX Runtime", len(answers), len(sources))
    return answers
