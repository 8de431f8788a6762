"""The base model `tiny` of encoders: a BERT of about a million parameters that has learnt nothing.

It shows the platform without a download, and is what tests train.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast

from qa_assets.models.base_model import BaseModelError, save

logger = logging.getLogger(__name__)
_MOST_PIECES = 4000
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def create(texts: Iterable[str], out: Path, seed: int) -> Path:
    """Make one, with a vocabulary of the words of some texts; the same for the same seed.

    Raises:
        BaseModelError: there is no text.
    """
    words = list(texts)
    if not any(text.strip() for text in words):
        raise BaseModelError("no vocabulary can be made: there is no text to train on")
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(
        words, vocab_size=_MOST_PIECES, min_frequency=1, special_tokens=_SPECIAL,
        show_progress=False,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    pieces.save_model(str(out))
    tokenizer = BertTokenizerFast(str(out / "vocab.txt"), do_lower_case=True, model_max_length=128)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=128,
        hidden_dropout_prob=0.05,
        attention_probs_dropout_prob=0.05,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=True)
    save(model, tokenizer, out)
    logger.info(
        "tiny BERT: %d pieces, %.2f M parameters", len(tokenizer), model.num_parameters() / 1e6
    )
    return out
