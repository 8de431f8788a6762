"""Counting a model's tokens without torch, for statistics of splits and for Spark's workers."""

import logging
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)
SPIECE = "spiece.model"


class PieceCounter:
    """Counts the pieces of a SentencePiece model: a `Count`."""

    def __init__(self, model: Path) -> None:
        """Load `spiece.model`, some 30 ms.

        Raises:
            FileNotFoundError: there is no such file.
        """
        from sentencepiece import SentencePieceProcessor

        self._processor = SentencePieceProcessor(model_proto=model.read_bytes())

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The number of pieces of each text."""
        return [len(ids) for ids in self._processor.encode(list(texts))]


def piece_counter(name_or_path: str) -> PieceCounter | None:
    """A counter of a model's tokens, by id on the hub or Hugging Face directory.

    None for `tiny`, which has no vocabulary yet, and where there is no `spiece.model` in reach.
    """
    from huggingface_hub import hf_hub_download

    if name_or_path == "tiny":
        return None
    try:
        path = Path(name_or_path) / SPIECE
        return PieceCounter(path if path.exists() else Path(hf_hub_download(name_or_path, SPIECE)))
    except (OSError, ValueError, RuntimeError) as error:
        logger.info("%s: no %s to count tokens with (%s)", name_or_path, SPIECE, error)
        return None
