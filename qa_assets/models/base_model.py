"""Text-to-text models as HF directories: loading and saving them, and what to compute them in.

Nothing about data or optimisation belongs here. How `tiny` is made is in `tiny_t5`.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core import files
from qa_assets.tasks.question_answering.windows import PieceCounter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_log = logging.getLogger(__name__)
SPIECE = "spiece.model"
RESULTS = "eval_results.json"  # as transformers' example scripts name it
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
        path = Path(name_or_path) / SPIECE
        return PieceCounter(path if path.exists() else Path(hf_hub_download(name_or_path, SPIECE)))
    except (OSError, ValueError, RuntimeError) as error:
        _log.info("%s: no %s to count tokens with (%s)", name_or_path, SPIECE, error)
        return None


_REMEDY = "QA_ASSETS_MODEL_BASE, or --model, takes a local Hugging Face directory of a T5 model"


def save(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    out: Path,
    results: dict[str, float] | None = None,
) -> Path:
    """Write a Hugging Face directory (safetensors, spiece.model), replacing `out` as a whole.

    Args:
        model: the weights.
        tokenizer: the model's.
        out: the directory.
        results: metrics of the weights, for `RESULTS` in it.

    Raises:
        BaseModelError: the tokenizer has no SentencePiece model, without which nothing serves.
    """
    with files.replacing(out) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        tokenizer.save_pretrained(unfinished)
        if not (unfinished / SPIECE).exists():
            raise BaseModelError(
                f"the tokenizer of {model.name_or_path or 'this model'} comes without {SPIECE}; "
                "add the file to the base model's directory"
            )
        if results:
            files.write_json(unfinished / RESULTS, results)
    return out


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
            "a tokenizer (spiece.model)": [SPIECE],
        }.items()
        if not any((path / name).exists() for name in names)
    ]
    if missing:
        raise BaseModelError(f"{path}: lacks {', '.join(missing)}; {_REMEDY}")
