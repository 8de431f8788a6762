"""The base model `tiny`: an untrained T5 of a million parameters for a run without downloads.

Its vocabulary comes from the training texts, and its initial weights let it learn to copy in a
minute.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration, T5Tokenizer

from qa_assets.models.base_model import BaseModelError, save
from qa_assets.models.tokens import SPIECE

logger = logging.getLogger(__name__)
_MAX_PIECES = 8000
_DROPOUT = 0.05


def create(texts: Iterable[str], out: Path, words: Sequence[str], seed: int) -> Path:
    """Write an untrained model; the same texts, words and seed give the same weights.

    It has the architecture of Flan-T5 (gated GELU, untied head, heads of 64), and a vocabulary in
    which the frequent words of `texts`, sources and targets, are one piece each, and so are
    `words`, such as the target that abstains.

    Raises:
        BaseModelError: there is too little text for a vocabulary, or something is not a word.
    """
    for word in words:
        if len(word.split()) != 1:
            raise BaseModelError(
                f"{word!r} has to be a single word for the base model `tiny`: choose another "
                "in the task's settings"
            )
    serialized = _sentencepiece(list(texts), words)
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = out / SPIECE
    vocabulary.write_bytes(serialized)
    # legacy: the pieces are those of SentencePiece itself, as Spark NLP makes them
    tokenizer = T5Tokenizer(str(vocabulary), extra_ids=0, legacy=True, model_max_length=512)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=128,
        d_kv=64,
        num_heads=2,
        d_ff=256,
        num_layers=2,
        num_decoder_layers=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=_DROPOUT,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
    _start_as_copier(model)
    model.generation_config = GenerationConfig.from_model_config(config)
    save(model, tokenizer, out)
    logger.info(
        "tiny T5: %d pieces, %.2f M parameters", len(tokenizer), model.num_parameters() / 1e6
    )
    return out


def _start_as_copier(model: Any) -> None:
    """Make the decoder output the token that it attends to, from the first step on.

    The head starts as the embedding, and the cross-attention's output as the transpose of its value
    projection. Then only where to attend has to be learnt: in one minute instead of ten.
    """
    with torch.no_grad():
        model.lm_head.weight.copy_(model.shared.weight * model.config.d_model**-0.5)
        for block in model.decoder.block:
            attention = block.layer[1].EncDecAttention
            attention.o.weight.copy_(attention.v.weight.T)


def _sentencepiece(texts: list[str], words: Sequence[str]) -> bytes:
    """Train a SentencePiece model (pad 0, eos 1, unk 2) and return its serialised form."""
    counts = Counter(word for text in texts for word in re.findall(r"\w+", text))
    characters = {character for text in texts for character in text}
    frequent = sum(count > 1 for count in counts.values())
    buffer = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=buffer,
            # unigram pieces stay fragments on so small a corpus; BPE takes about two merges on the
            # way to a whole word
            model_type="bpe",
            vocab_size=min(3 * frequent + len(characters) + 4, _MAX_PIECES),
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentence_length=100_000,
            user_defined_symbols=[f"▁{word}" for word in words],
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise BaseModelError(
            f"no vocabulary can be made of {len(texts)} texts ({error}); train on more examples"
        ) from error
    return buffer.getvalue()
