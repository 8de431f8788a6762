"""CTranslate2: converts a Hugging Face directory of a T5, and decodes with the converted model.

CTranslate2 (https://opennmt.net/CTranslate2) is the fastest runtime of T5 on CPUs, and gives
confidences. It evaluates models in training and answers in Spark's Python workers.
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

from qa_assets.core.examples import Prediction
from qa_assets.core.files import atomic_directory
from qa_assets.models.base_model import load_tokenizer
from qa_assets.models.logit_bias import CONFIG, bias_vector, count_pieces
from qa_assets.models.tokens import SPIECE

if TYPE_CHECKING:
    from ctranslate2 import TranslationResult, Translator
    from sentencepiece import SentencePieceProcessor

logger = logging.getLogger(__name__)

Quantization = Literal["float32", "int8"]
_MODEL = "model.bin"
_END = "</s>"
_SPECIAL = {"<pad>", _END, "<unk>"}  # transformers skips them when it decodes a text
_MAX_BATCH_TOKENS = 2048


class CTranslate2Error(RuntimeError):
    """A model that cannot be converted or loaded; the message says why and what to do."""


@dataclass(frozen=True)
class Loaded:
    """A converted model in memory, with its SentencePiece model."""

    translator: "Translator"
    pieces: "SentencePieceProcessor"


def convert(
    model_dir: Path, out: Path, *, token_bias: Mapping[int, float], quantization: Quantization
) -> None:
    """Convert the Hugging Face directory of a T5 to the new directory `out`.

    `logit_bias.token_bias` becomes the bias of the output projection, which a T5 lacks. `int8`
    quantises weights by output channel, activations row by row, and wants the weights of
    `quantization.prepare`.

    Raises:
        CTranslate2Error: `model_dir` is no model that CTranslate2 knows.
        FileExistsError: `out` exists.
    """
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):  # type: ignore[misc]
        def _load(self) -> Any:
            spec = super()._load()
            projection = spec.decoder.projection
            projection.bias = bias_vector(
                token_bias, count_pieces(model_dir), len(projection.weight)
            )
            # CTranslate2's default is 1e-5, which is not T5's
            spec.config.layer_norm_epsilon = config["layer_norm_epsilon"]
            return spec

        def load_tokenizer(self, _: object, name: str, **__: object) -> Any:
            return load_tokenizer(name)  # not every spiece.model can become a fast tokenizer

    for name in (SPIECE, CONFIG):
        if not (model_dir / name).is_file():
            raise CTranslate2Error(f"{model_dir} has no {name}: give the directory of a T5 model")
    config = json.loads((model_dir / CONFIG).read_text(encoding="utf-8"))
    started = time.monotonic()
    with atomic_directory(out) as draft:
        try:
            Converter(str(model_dir)).convert(str(draft), quantization=quantization, force=True)
        except Exception as error:
            raise CTranslate2Error(f"{model_dir} cannot be converted: {error}") from error
        shutil.copy(model_dir / SPIECE, draft)
    logger.debug(
        "converted %s to CTranslate2, %s, in %.1f s",
        model_dir, quantization, time.monotonic() - started,
    )  # fmt: skip


def open_model(directory: Path, workers: int = 1, threads: int = 1) -> Loaded:
    """Load what `convert` wrote; the directory can be removed afterwards.

    Args:
        directory: of the model.
        workers: batches computed in parallel.
        threads: of each worker; becomes the number of OpenMP's threads in this process.

    Raises:
        CTranslate2Error: there is no model in `directory`.
    """
    from ctranslate2 import Translator
    from sentencepiece import SentencePieceProcessor

    for name in (_MODEL, SPIECE):
        if not (directory / name).is_file():
            raise CTranslate2Error(f"{directory} has no {name}: convert the model first")
    translator = Translator(
        str(directory), device="cpu", inter_threads=workers, intra_threads=threads
    )
    return Loaded(translator, SentencePieceProcessor(model_file=str(directory / SPIECE)))


load = lru_cache(maxsize=1)(open_model)
"""As `open_model`; returns the model that was loaded last, if it is the same."""


def translate(
    model: Loaded, sources: Sequence[list[str]], max_new_tokens: int, **options: Any
) -> "list[TranslationResult]":
    """Decode greedily, in batches of similar length; `options` are those of `translate_batch`.

    Sources are pieces, their end included. Each has one hypothesis, whose score is the sum of its
    tokens' log probabilities.
    """
    results: list[TranslationResult] = model.translator.translate_batch(
        sources,
        batch_type="tokens",
        max_batch_size=_MAX_BATCH_TOKENS,  # sorts by length, too
        beam_size=1,
        length_penalty=0,  # scores are sums of log probabilities, not means
        max_input_length=0,  # no truncation
        max_decoding_length=max_new_tokens,
        min_decoding_length=0,  # the default of 1 allows no empty output
        return_scores=True,
        **options,
    )
    return results


def generate(model: Loaded, sources: Sequence[str], *, max_new_tokens: int) -> list[Prediction]:
    """The output for each source, as `translate` decodes it.

    Its confidence is the product of the probabilities of its tokens, the end included. A blank
    source gets an empty text with confidence 0.
    """
    outputs = [Prediction("", 0.0)] * len(sources)
    numbers = [number for number, source in enumerate(sources) if source.strip()]
    pieces = [model.pieces.encode(sources[number], out_type=str) + [_END] for number in numbers]
    results = translate(model, pieces, max_new_tokens)
    for number, result in zip(numbers, results, strict=True):
        pieces = [piece for piece in result.hypotheses[0] if piece not in _SPECIAL]
        outputs[number] = Prediction(
            model.pieces.decode(pieces).strip(), math.exp(result.scores[0])
        )
    return outputs
