"""Encoder-decoders that are no T5: tiny, untrained, with a tokenizer of whole words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARCHITECTURES = ("mt5", "bart", "led")
POSITIONS = 112  # of BART and LED; mT5's have no end


def create(architecture: str, texts: Sequence[str], out: Path) -> Path:
    """Write a Hugging Face directory.

    Args:
        architecture: one of `ARCHITECTURES`.
        texts: whose words are the vocabulary.
        out: the directory.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    from qa_assets.models import base_model

    tokenizer = _tokenizer(texts, begins=architecture != "mt5")
    torch.manual_seed(1)
    model = AutoModelForSeq2SeqLM.from_config(_config(architecture, len(tokenizer)))
    if architecture != "mt5":
        model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
        model.generation_config.forced_eos_token_id = tokenizer.eos_token_id
    return base_model.save(model, tokenizer, out)


def _tokenizer(texts: Sequence[str], begins: bool) -> Any:
    """A fast tokenizer; a text ends in `</s>`, and begins with `<s>` where the model wants it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Whitespace()
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text)}
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted(words)]
    backend = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = split
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if begins else "$A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", eos_token="</s>",
        unk_token="<unk>",
    )  # fmt: skip


def _config(architecture: str, vocabulary: int) -> Any:
    from transformers import BartConfig, LEDConfig, MT5Config

    if architecture == "mt5":
        return MT5Config(
            vocab_size=vocabulary, d_model=64, d_kv=32, num_heads=2, d_ff=64, num_layers=2,
            num_decoder_layers=2, pad_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            dropout_rate=0.0,
        )  # fmt: skip
    shape = {
        "vocab_size": vocabulary, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2, "dropout": 0.0,
    }  # fmt: skip
    if architecture == "bart":
        return BartConfig(max_position_embeddings=POSITIONS, **shape)
    return LEDConfig(
        max_encoder_position_embeddings=POSITIONS, max_decoder_position_embeddings=64,
        attention_window=16, **shape,
    )  # fmt: skip


def babbler(model_dir: Path) -> tuple[Any, Any]:
    """Model and tokenizer, with weights that say something else to every source."""
    import torch

    from qa_assets.models import base_model

    model, tokenizer = base_model.load(model_dir)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model, tokenizer
