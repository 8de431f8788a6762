"""The second engine: a model of CTranslate2, converted from a Hugging Face directory, and asked.

CTranslate2 (https://opennmt.net/CTranslate2) is what runs T5 fastest on CPUs, and tells how sure it
is. Knows nothing of Spark.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qa_assets.deployment.atomic import atomic_directory
from qa_assets.models.base_model import load_tokenizer

if TYPE_CHECKING:
    from ctranslate2 import Translator
    from sentencepiece import SentencePieceProcessor

logger = logging.getLogger(__name__)

Quantization = Literal["float32", "int8"]
NEVER = -1e9
"""A bias that excludes a token: finite, for quantisers that measure ranges."""
_MODEL = "model.bin"
_SENTENCE_PIECE = "spiece.model"
_CONFIG = "config.json"
_END = "</s>"
_NOT_TEXT = {"<pad>", _END, "<unk>"}  # what transformers leaves out of a text
_MOST_BATCH_TOKENS = 2048


class CTranslate2Error(RuntimeError):
    """A model that cannot be converted or loaded; the message says why and what to do."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory, with its pieces."""

    translator: "Translator"
    pieces: "SentencePieceProcessor"


def convert(
    model_dir: Path, out: Path, *, token_bias: Mapping[int, float], quantization: Quantization
) -> None:
    """Convert a Hugging Face directory of a T5.

    The biases become the bias of the output projection, which T5 has none of by itself, so that
    greedy decoding abstains as the calibrated model does; ids that are no piece are excluded.

    Args:
        model_dir: a T5ForConditionalGeneration with spiece.model. For int8, with smoothed weights:
            see `smoothing`.
        out: a directory that does not exist, or is empty; written beside and renamed.
        token_bias: what to add to the logits, by token id.
        quantization: of the weights, and in products of the activations, row by row.

    Raises:
        CTranslate2Error: `model_dir` is no model that CTranslate2 knows.
        FileExistsError: `out` exists.
    """
    import numpy as np
    from ctranslate2.converters import TransformersConverter
    from sentencepiece import SentencePieceProcessor

    class Converter(TransformersConverter):  # type: ignore[misc]
        def _load(self) -> Any:
            spec = super()._load()
            bias = np.zeros(len(spec.decoder.projection.weight), dtype=np.float32)
            bias[pieces:] = NEVER
            for token, value in token_bias.items():
                bias[token] = value
            spec.decoder.projection.bias = bias
            # without it 1e-5, which is not T5's
            spec.config.layer_norm_epsilon = config["layer_norm_epsilon"]
            return spec

        def load_tokenizer(self, _: object, name: str, **__: object) -> Any:
            return load_tokenizer(name)  # a fast one cannot be made of every spiece.model

    for name in (_SENTENCE_PIECE, _CONFIG):
        if not (model_dir / name).is_file():
            raise CTranslate2Error(f"{model_dir} has no {name}: give the directory of a T5 model")
    config = json.loads((model_dir / _CONFIG).read_text(encoding="utf-8"))
    pieces = SentencePieceProcessor(model_file=str(model_dir / _SENTENCE_PIECE)).get_piece_size()
    started = time.monotonic()
    with atomic_directory(out) as draft:
        try:
            Converter(str(model_dir)).convert(str(draft), quantization=quantization, force=True)
        except Exception as error:
            raise CTranslate2Error(f"{model_dir} cannot be converted: {error}") from error
        shutil.copy(model_dir / _SENTENCE_PIECE, draft)
    logger.info(
        "converted %s to CTranslate2, %s, in %.1f s",
        model_dir, quantization, time.monotonic() - started,
    )  # fmt: skip


@lru_cache(maxsize=1)
def load(directory: Path, workers: int = 1) -> Loaded:
    """Load a converted model, or take the one that was loaded last.

    Args:
        directory: what `convert` wrote.
        workers: batches at a time, of a thread each.

    Raises:
        CTranslate2Error: there is no model in `directory`.
    """
    from ctranslate2 import Translator
    from sentencepiece import SentencePieceProcessor

    for name in (_MODEL, _SENTENCE_PIECE):
        if not (directory / name).is_file():
            raise CTranslate2Error(f"{directory} has no {name}: convert the model first")
    translator = Translator(str(directory), device="cpu", inter_threads=workers, intra_threads=1)
    pieces = SentencePieceProcessor(model_file=str(directory / _SENTENCE_PIECE))
    return Loaded(translator, pieces)


def answer(
    model: Loaded, sources: Sequence[str], *, max_new_tokens: int
) -> tuple[list[str], list[float]]:
    """Answer greedily, in batches of similar length.

    Args:
        model: from `load`.
        sources: model inputs; a blank one gets an empty answer.
        max_new_tokens: longest answer, in tokens, its end included.

    Returns:
        By source the answer, and how probable the model holds it, from 0 to 1: the product of the
        probabilities of its tokens, the end included. 0 where the source is blank.
    """
    texts, confidences = [""] * len(sources), [0.0] * len(sources)
    asked = [number for number, source in enumerate(sources) if source.strip()]
    tokens = [model.pieces.encode(sources[number], out_type=str) + [_END] for number in asked]
    results = model.translator.translate_batch(
        tokens,
        batch_type="tokens",
        max_batch_size=_MOST_BATCH_TOKENS,  # sorted by length, too
        beam_size=1,
        length_penalty=0,  # else scores are means of the tokens'
        max_input_length=0,  # nothing is cut off
        max_decoding_length=max_new_tokens,
        min_decoding_length=0,  # else no answer is empty
        return_scores=True,
    )
    for number, result in zip(asked, results, strict=True):
        said = [piece for piece in result.hypotheses[0] if piece not in _NOT_TEXT]
        texts[number] = model.pieces.decode(said).strip()
        confidences[number] = math.exp(result.scores[0])
    return texts, confidences
