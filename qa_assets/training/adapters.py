"""Which weights of a model are trained: all, all but frozen ones, or adapters of peft."""

import copy
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from qa_assets.training.config import TrainingConfig

logger = logging.getLogger(__name__)
_DROPOUT = ("dropout_rate", "dropout", "hidden_dropout_prob")  # names in configs


class AdapterError(ValueError):
    """Settings by which nothing can be trained; the message says why and names the remedy."""


@dataclass(frozen=True)
class Trainee:
    """A model in training, and peft's wrapper around it if it has adapters."""

    model: PreTrainedModel
    adapted: Any = None

    @property
    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that change, by name."""
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def plain(self) -> PreTrainedModel:
        """The model, or a copy with its adapters merged into the weights."""
        if self.adapted is None:
            return self.model
        if getattr(self.model, "is_quantized", False):
            return self._dequantized()
        return copy.deepcopy(self.adapted).merge_and_unload()

    def _dequantized(self) -> PreTrainedModel:
        """The weights of quantised layers with their adapters, in fp32, on the CPU.

        peft's own merge would round them to 4 bits again.
        """
        config = copy.deepcopy(self.model.config)
        for name in ("quantization_config", "_pre_quantization_dtype"):
            vars(config).pop(name, None)
        plain = type(self.model)(config)
        plain.generation_config = copy.deepcopy(self.model.generation_config)
        # peft puts the layers that it wraps below names of its own
        state = {
            name.replace(".base_layer.", ".").replace(".modules_to_save.default.", "."): tensor
            for name, tensor in self.model.state_dict().items()
        }
        weights = {
            f"{name}.weight": weight_of(self.model.get_submodule(name)).cpu()
            for name, module in plain.named_modules()
            if isinstance(module, nn.Linear)
        }
        plain.load_state_dict({name: state.get(name) for name in plain.state_dict()} | weights)
        return plain.eval()


def weight_of(module: Any) -> torch.Tensor:
    """The matrix that a linear layer multiplies by, adapters and quantisation included."""
    eye = torch.eye(module.in_features, device=module.weight.device)
    return (module(eye) - module(torch.zeros_like(eye[:1]))).detach().float().T.contiguous()


def quantization() -> Any:
    """Transformers' config that loads the base in 4 bits, as QLoRA does (Dettmers et al., 2023).

    Raises:
        AdapterError: there is no CUDA device, or no bitsandbytes.
    """
    if not torch.cuda.is_available():
        raise AdapterError(
            "quantize_base (QLoRA) needs a CUDA device and there is none: set it to false, "
            "lora_rank alone trains adapters on a CPU too"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise AdapterError(
            "quantize_base (QLoRA) needs bitsandbytes, which is not installed with qa_assets: "
            "pip install 'bitsandbytes>=0.45', or set it to false"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def prepare(model: PreTrainedModel, config: TrainingConfig) -> Trainee:
    """Freeze what is not to be trained, add adapters, set the dropout; the model is changed.

    Raises:
        AdapterError: it has fewer blocks than are to be frozen, or nothing is left to train.
    """
    if config.dropout is not None:
        _set_dropout(model, config.dropout)
    if config.lora_rank:
        trainee = _with_adapters(model, config)
    else:
        _freeze(model, config)
        trainee = Trainee(model)
    count = sum(parameter.numel() for parameter in trainee.trainable.values())
    if not count:
        raise AdapterError("freeze_*: nothing is left to train")
    total = model.num_parameters()
    logger.info("%.2f M of %.1f M parameters are trained", count / 1e6, total / 1e6)
    return trainee


def _set_dropout(model: Any, rate: float) -> None:
    for name in _DROPOUT:
        if hasattr(model.config, name):
            setattr(model.config, name, rate)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):  # of BART and its kin
            module.dropout = rate


def _with_adapters(model: PreTrainedModel, config: TrainingConfig) -> Trainee:
    """LoRA in all linear layers of an encoder-decoder; of an encoder in those that peft names."""
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as CHOICES

    text_to_text = model.config.is_encoder_decoder
    chosen = not text_to_text and model.config.model_type in CHOICES
    if config.quantize_base:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    adapted = get_peft_model(
        model,
        LoraConfig(
            # of a classifier the head is trained as well
            task_type=TaskType.SEQ_2_SEQ_LM if text_to_text else TaskType.SEQ_CLS,
            r=config.lora_rank,
            lora_alpha=config.lora_alpha * config.lora_rank,
            target_modules=None if chosen else "all-linear",
        ),
    )
    return Trainee(adapted.get_base_model(), adapted)


def _freeze(model: Any, config: TrainingConfig) -> None:
    """Freeze embeddings, the encoder without them, and the first blocks of every stack."""
    embeddings = model.get_input_embeddings()
    text_to_text = model.config.is_encoder_decoder
    encoder = model.get_encoder() if text_to_text else model.base_model
    frozen = list(embeddings.parameters()) if config.freeze_embeddings else []
    if config.freeze_encoder:
        shared = set(embeddings.parameters())  # with the decoder
        frozen += [parameter for parameter in encoder.parameters() if parameter not in shared]
    for stack in (encoder, model.get_decoder()) if text_to_text else (encoder,):
        blocks = next(module for module in stack.modules() if isinstance(module, nn.ModuleList))
        if config.freeze_blocks > len(blocks):
            raise AdapterError(
                f"freeze_blocks={config.freeze_blocks}: the model has {len(blocks)} blocks"
            )
        frozen += [p for block in blocks[: config.freeze_blocks] for p in block.parameters()]
    for parameter in frozen:
        parameter.requires_grad_(False)
