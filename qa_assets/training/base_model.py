"""What fine-tuning starts from: loading, saving and making text-to-text models as HF directories.

Nothing about data or optimisation belongs here.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets import files
from qa_assets.squad.windows import PieceCounter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_log = logging.getLogger(__name__)
_SPIECE = "spiece.model"
_MOST_PIECES = 8000
_REAL_SIZE = 20_000_000  # parameters from which bf16 on a CPU is faster than fp32


class BaseModelError(RuntimeError):
    """A model that cannot be loaded or saved; the message says which, why and the remedy."""


def load(
    name_or_path: str | Path, quantization: Any = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a sequence-to-sequence model and its tokenizer, in fp32, in evaluation mode.

    Args:
        name_or_path: a Hugging Face directory, or an id on the hub.
        quantization: transformers' `quantization_config`; none: all weights as they are.

    Raises:
        BaseModelError: files are missing or broken, or the hub has no such model in reach.
    """
    from transformers import AutoModelForSeq2SeqLM

    path = Path(name_or_path)
    if path.is_dir():
        require_files(path)
    elif path.is_absolute() or str(name_or_path).startswith("."):
        raise BaseModelError(f"{path}: there is no such directory; {_REMEDY}")
    try:
        tokenizer = load_tokenizer(name_or_path)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            str(name_or_path),
            dtype="float32",
            use_safetensors=True,
            quantization_config=quantization,
        )
    except Exception as error:  # the hub client, safetensors and JSON each raise their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise BaseModelError(f"{name_or_path}: cannot be loaded ({reason}); {_REMEDY}") from error
    return model.eval(), tokenizer


def load_tokenizer(name_or_path: str | Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer that reads texts as SentencePiece alone does, and so as Spark NLP does.

    The fast one adds a piece for a last space and takes "</s>" in a text for the end.
    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(name_or_path), use_fast=False, split_special_tokens=True, legacy=True
    )


def piece_counter(name_or_path: str) -> PieceCounter | None:
    """What counts the tokens of a model; None where its vocabulary is made later, or not in reach.

    Args:
        name_or_path: `tiny`, a Hugging Face directory, or an id on the hub.
    """
    from huggingface_hub import hf_hub_download

    if name_or_path == "tiny":
        return None
    try:
        path = Path(name_or_path) / _SPIECE
        return PieceCounter(path if path.exists() else Path(hf_hub_download(name_or_path, _SPIECE)))
    except (OSError, ValueError, RuntimeError) as error:
        _log.info("%s: no %s to count tokens with (%s)", name_or_path, _SPIECE, error)
        return None


_REMEDY = "QA_ASSETS_MODEL_BASE, or --model, takes a local Hugging Face directory of a T5 model"


def save(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", out: Path) -> Path:
    """Write a Hugging Face directory (safetensors, spiece.model), replacing `out` as a whole.

    Raises:
        BaseModelError: the tokenizer has no SentencePiece model, without which nothing serves.
    """
    with files.replacing(out) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        tokenizer.save_pretrained(unfinished)
        if not (unfinished / _SPIECE).exists():
            raise BaseModelError(
                f"the tokenizer of {model.name_or_path or 'this model'} comes without {_SPIECE}; "
                "add the file to the base model's directory"
            )
    return out


def create_tiny_t5(texts: Iterable[str], out: Path, null_text: str, seed: int) -> Path:
    """Make a T5 of about a million parameters that has learnt nothing yet.

    Of the shape of Flan-T5 (gated GELU, untied head, heads of 64), with a vocabulary in which the
    frequent words of `texts` are one piece each, and so is `null_text`.

    Args:
        texts: sources and targets of the training rows.
        out: the Hugging Face directory to write.
        null_text: what the model is to say where there is no answer.
        seed: the same texts and seed give the same weights.

    Raises:
        BaseModelError: there is too little text for a vocabulary, or the null text is not a word.
    """
    import torch
    from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration, T5Tokenizer

    if len(null_text.split()) != 1:
        raise BaseModelError(f"QA_ASSETS_DATA_NO_ANSWER: {null_text!r} has to be a single word")
    serialized = _sentencepiece(list(texts), null_text)
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = out / _SPIECE
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
    _log.info("tiny T5: %d pieces, %.2f M parameters", len(tokenizer), model.num_parameters() / 1e6)
    return out


_DROPOUT = 0.05


def _start_as_copier(model: Any) -> None:
    """Let what the decoder attends to be what it says, from the first step on.

    With the head starting as the embedding and the cross-attention's output as the transpose of its
    value projection, copying a word needs no learning, only where to look does. At this size that
    is the difference between one minute of training and ten.
    """
    import torch

    with torch.no_grad():
        model.lm_head.weight.copy_(model.shared.weight * model.config.d_model**-0.5)
        for block in model.decoder.block:
            attention = block.layer[1].EncDecAttention
            attention.o.weight.copy_(attention.v.weight.T)


def _sentencepiece(texts: list[str], null_text: str) -> bytes:
    """Train a SentencePiece model (pad 0, eos 1, unk 2) and return its serialised form."""
    import sentencepiece

    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    characters = {character for text in texts for character in text}
    frequent = sum(count > 1 for count in words.values())
    buffer = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=buffer,
            # unigram pieces stay fragments on so small a corpus; BPE takes about two merges on the
            # way to a whole word
            model_type="bpe",
            vocab_size=min(3 * frequent + len(characters) + 4, _MOST_PIECES),
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentence_length=100_000,
            user_defined_symbols=[f"▁{null_text}"],
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise BaseModelError(
            f"no vocabulary can be made of {len(texts)} texts ({error}); train on more questions"
        ) from error
    return buffer.getvalue()


def dtype(model: "PreTrainedModel", precision: str) -> "torch.dtype":
    """What to compute in: bf16 or fp32.

    Args:
        model: its device and size decide under `auto`.
        precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware has it natively (CUDA; on a
            CPU AVX512-BF16 or AMX) and, on a CPU, the model is large enough to gain by it.
    """
    import torch

    if precision == "auto":
        if model.device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = model.num_parameters() >= _REAL_SIZE and _cpu_has_bf16()
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(model: "PreTrainedModel", precision: str) -> "AbstractContextManager[Any]":
    """The context to train in: autocast to `dtype`, or nothing where that is fp32."""
    import torch

    to = dtype(model, precision)
    if to == torch.float32:
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(model.device.type, dtype=to)
    return context


def _cpu_has_bf16() -> bool:
    import torch

    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def require_files(path: Path) -> None:
    """Raise `BaseModelError` where a Hugging Face directory lacks what loading needs."""
    missing = [
        what
        for what, names in {
            "config.json": ["config.json"],
            "weights (model.safetensors)": ["model.safetensors", "model.safetensors.index.json"],
            "a tokenizer (spiece.model)": [_SPIECE],
        }.items()
        if not any((path / name).exists() for name in names)
    ]
    if missing:
        raise BaseModelError(f"{path}: lacks {', '.join(missing)}; {_REMEDY}")
