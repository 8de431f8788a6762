"""What every engine adds to the logits, so that greedy decoding equals transformers' `generate`.

Two things: `sequence_bias` of the generation config, which calibrated abstention sets, and the
exclusion of ids that are no piece of the SentencePiece model. How an engine adds it is its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.models.tokens import SPIECE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
EXCLUDED = -1e9
"""The bias of an excluded token: finite, for quantisers that measure ranges."""


class ExportError(ValueError):
    """A model that cannot be exported; the message says what about it and the remedy."""


def require_files(model_dir: Path) -> None:
    """Check that a Hugging Face directory has what every engine needs.

    Raises:
        ExportError: a file is missing.
    """
    for name in (CONFIG, GENERATION_CONFIG, SPIECE):
        if not (model_dir / name).is_file():
            raise ExportError(f"{model_dir} has no {name}: give the directory of a T5 model")


def token_bias(model_dir: Path) -> dict[int, float]:
    """What the generation config of a Hugging Face directory adds to the logits, by token id.

    Raises:
        ExportError: a file is missing, or a bias is of a sequence of several tokens.
    """
    from transformers import GenerationConfig

    require_files(model_dir)
    pieces = count_pieces(model_dir)
    # a list of [sequence, bias], or a mapping
    bias: Any = GenerationConfig.from_pretrained(model_dir, local_files_only=True).sequence_bias
    result = {}
    for sequence, value in bias.items() if isinstance(bias, dict) else bias or []:
        if len(sequence) != 1 or not 0 <= sequence[0] < pieces:
            raise ExportError(
                f"{GENERATION_CONFIG}: sequence_bias of {list(sequence)}: only a sequence of one"
                f" token, an id below {pieces}, can become part of the graph"
            )
        result[int(sequence[0])] = float(value)
    return result


def bias_vector(
    token_bias: Mapping[int, float], pieces: int, vocabulary: int
) -> "NDArray[np.float32]":
    """The bias of every token id, as many as `vocabulary`; from `pieces` on they are excluded."""
    import numpy as np

    vector = np.zeros(vocabulary, dtype=np.float32)
    vector[pieces:] = EXCLUDED
    for token, value in token_bias.items():
        vector[token] = value
    return vector


def count_pieces(model_dir: Path) -> int:
    """The number of pieces of a directory's SentencePiece model."""
    from sentencepiece import SentencePieceProcessor

    count: int = SentencePieceProcessor(model_file=str(model_dir / SPIECE)).get_piece_size()
    return count
