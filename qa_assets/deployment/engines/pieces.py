"""What Spark NLP's BertForSequenceClassification reads of a text, so that its token ids are right.

Spark NLP splits words in ways of its own: "what's" and "$3" would lose a part. So each token id of
the model's own tokenizer gets a name, such as `piece2054`, which Spark NLP looks up as one word.
Its vocabulary has the tokenizer's own words first, for plain text, and the names after them.
Without torch, for Spark's workers.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.models.logit_bias import ExportError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

TOKENIZER = "tokenizer.json"
VOCABULARY = "assets/vocab.txt"
UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
_SPECIAL = ("[PAD]", UNKNOWN, START, END)


class Pieces:
    """Splits texts by a model's own tokenizer."""

    def __init__(self, directory: Path, max_tokens: int) -> None:
        """Load tokenizer.json.

        Args:
            directory: that holds it.
            max_tokens: of a text with its start and end; what is longer is cut at its end.
        """
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        self._tokenizer.encode_special_tokens = True  # in a text they are plain text
        self._tokenizer.no_truncation()
        self._most = max_tokens - 2

    def __call__(self, text: str) -> list[str]:
        """The names of the token ids of a text, without its start and end."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [_name(number) for number in ids[: self._most]]


load = lru_cache(maxsize=1)(Pieces)
"""The pieces of a model, loaded once."""


def save(tokenizer: "PreTrainedTokenizerBase", size: int, out: Path) -> "NDArray[np.int64]":
    """Write tokenizer.json and assets/vocab.txt.

    Args:
        tokenizer: of the model.
        size: of the model's vocabulary.
        out: an existing directory.

    Returns:
        The model's id for each line of the vocabulary. Padding is on the first, where Spark NLP
        wants it; the lines from `size` on are those of the names.

    Raises:
        ExportError: the tokenizer is not a fast one, or has no padding, unknown, start or end.
    """
    import numpy as np

    special = [
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    ]
    if not tokenizer.is_fast or None in special:
        raise ExportError(
            "the tokenizer must be a fast one, with tokens for padding, unknown, start and end"
        )
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    lines = [words.get(number, f"[unused{number}]") for number in range(size)]
    for word, number in zip(_SPECIAL, special, strict=True):
        lines[number] = word
    ids = np.concatenate([np.arange(size), np.arange(size)])
    padding = special[0]
    lines[0], lines[padding] = lines[padding], lines[0]
    ids[[0, padding]] = padding, 0
    (out / VOCABULARY).parent.mkdir(exist_ok=True)
    text = "\n".join([*lines, *map(_name, range(size))])
    (out / VOCABULARY).write_text(text, encoding="utf-8")
    tokenizer.backend_tokenizer.save(str(out / TOKENIZER))
    return ids


def _name(number: int) -> str:
    return f"piece{number}"
