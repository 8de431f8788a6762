"""Hugging Face directories: checks, loading, saving; and the dtype to compute a model in.

What a model predicts is in `task_model`. The base model `tiny` is made by `tiny_t5` or `tiny_bert`.
"""

import json
import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core import files
from qa_assets.models import onnx_weights
from qa_assets.models.tokens import SPIECE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
RESULTS = "eval_results.json"  # as transformers' example scripts name it
CALIBRATION = "calibration.json"  # written by training.calibration
_REAL_SIZE = 20_000_000  # parameters from which bf16 on a CPU is faster than fp32
_SENTENCEPIECE = ("t5", "mt5", "umt5")  # architectures whose tokenizer is SentencePiece
_TOKENIZERS = [SPIECE, "tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model"]
_REMEDY = (
    "a base model is a local Hugging Face directory or an id on the hub (`model.base` of the "
    "pipeline, or --model)"
)


class BaseModelError(RuntimeError):
    """A model that cannot be loaded, saved or used; the message says which, why and the remedy."""


def load(
    name_or_path: str | Path,
    quantization: Any = None,
    auto_class: str = "AutoModelForSeq2SeqLM",
    **options: Any,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a Hugging Face directory, or an id on the hub, in fp32, in evaluation mode.

    `quantization` is transformers' `quantization_config`, `options` others of `from_pretrained`.

    Raises:
        BaseModelError: files are missing or broken, or the hub has no such model in reach.
    """
    path = Path(name_or_path)
    if path.is_dir():
        require_files(path)
    elif path.is_absolute() or str(name_or_path).startswith("."):
        raise BaseModelError(f"{path}: there is no such directory; {_REMEDY}")
    return load_unchecked(name_or_path, auto_class, quantization_config=quantization, **options)


def load_unchecked(
    name_or_path: str | Path, auto_class: str, **options: Any
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """As `load`, of a directory that may lack what training and serving need."""
    import transformers

    try:
        tokenizer = load_tokenizer(name_or_path)
        auto = getattr(transformers, auto_class)
        onnx = Path(name_or_path) / onnx_weights.FILE
        if onnx.is_file() and not list(onnx.parent.glob("*.safetensors*")):
            model = _of_onnx(auto, onnx, options)
        else:
            model = auto.from_pretrained(
                str(name_or_path),
                dtype="float32",
                use_safetensors=True,
                local_files_only=Path(name_or_path).is_dir(),
                **options,
            )
    except Exception as error:  # the hub client, safetensors and JSON each raise their own
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise BaseModelError(f"{name_or_path}: cannot be loaded ({reason}); {_REMEDY}") from error
    return model.eval(), tokenizer


def _of_onnx(auto: Any, path: Path, options: dict[str, Any]) -> "PreTrainedModel":
    """The model of an ONNX export with its config, of an encoder."""
    from transformers import AutoConfig

    options.pop("quantization_config", None)
    resizes = options.pop("ignore_mismatched_sizes", False)
    config = AutoConfig.from_pretrained(str(path.parent), local_files_only=True, **options)
    model = auto.from_config(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    weights = {
        name: tensor
        for name, tensor in onnx_weights.read(path).items()
        if name in shapes and (tensor.shape == shapes[name] or not resizes)
    }
    unset = model.load_state_dict(weights, strict=False).missing_keys
    # a new head is no fault
    missing = [name for name in unset if name.startswith(model.base_model_prefix)]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing[:3])}: export it by optimum-cli")
    return model


def load_tokenizer(name_or_path: str | Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer that reads the names of special tokens in a text as plain text.

    That of a T5 gives the pieces of SentencePiece, as Spark NLP does; the fast one adds a piece for
    a trailing space.
    """
    from transformers import AutoConfig, AutoTokenizer

    path, name = Path(name_or_path), str(name_or_path)
    local = path.is_dir()
    slow = (path / SPIECE).exists() if local else True
    if slow:
        architecture = AutoConfig.from_pretrained(name, local_files_only=local).model_type
        slow = architecture in _SENTENCEPIECE
    options = {"use_fast": False, "legacy": True} if slow else {}
    return AutoTokenizer.from_pretrained(
        name, split_special_tokens=True, local_files_only=local, **options
    )


def save(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    out: Path,
    results: dict[str, float] | None = None,
) -> Path:
    """Write a Hugging Face directory with safetensors, replacing `out` as a whole.

    Metrics of the model are written to `RESULTS` in it.

    Raises:
        BaseModelError: a T5's tokenizer has no SentencePiece model, which engines need.
    """
    with files.replacing(out) as unfinished:
        model.save_pretrained(unfinished, safe_serialization=True)
        tokenizer.save_pretrained(unfinished)
        if model.config.model_type == "t5" and not (unfinished / SPIECE).exists():
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
    """Autocast to `dtype`; no context where that is fp32."""
    import torch

    to = dtype(model, precision)
    return nullcontext() if to == torch.float32 else torch.autocast(model.device.type, dtype=to)


def _cpu_has_bf16() -> bool:
    import torch

    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def max_positions(model: "PreTrainedModel") -> int | None:
    """The tokens that a model can read at most; None where its positions are relative."""
    names = ("max_encoder_position_embeddings", "max_position_embeddings")
    return next((limit for name in names if (limit := getattr(model.config, name, None))), None)


def require_positions(model: "PreTrainedModel", max_source_tokens: int) -> None:
    """Raise `BaseModelError` where a model cannot read so many tokens."""
    limit = max_positions(model)
    if limit is not None and limit < max_source_tokens:
        raise BaseModelError(
            f"max_source_tokens={max_source_tokens}: {model.name_or_path} reads {limit} at most"
        )


def require_files(path: Path) -> None:
    """Raise `BaseModelError` where a Hugging Face directory lacks what loading needs."""
    needed = {
        "config.json": ["config.json"],
        "weights (model.safetensors)": [
            "model.safetensors",
            "model.safetensors.index.json",
            onnx_weights.FILE,
        ],
        f"a tokenizer ({SPIECE})": [SPIECE] if _is_t5(path) else _TOKENIZERS,
    }
    missing = [
        what for what, names in needed.items() if not any((path / name).exists() for name in names)
    ]
    if missing:
        raise BaseModelError(f"{path}: lacks {', '.join(missing)}; {_REMEDY}")


def _is_t5(path: Path) -> bool:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return bool(config.get("model_type") == "t5")
