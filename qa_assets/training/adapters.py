"""Which weights of a model are trained: all, all but frozen ones, or adapters of peft."""

import copy
import importlib.util
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)
_LINEAR = ["q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo"]  # every T5 block's, whatever its kind


class AdapterError(ValueError):
    """Weights that cannot be trained as the settings say; the message says why and the remedy."""


@dataclass(frozen=True)
class Trainee:
    """A model in training.

    Attributes:
        model: what is computed with, adapters included.
        adapted: peft's own view of it, where there are adapters.
    """

    model: "PreTrainedModel"
    adapted: Any = None

    @property
    def trainable(self) -> "dict[str, torch.nn.Parameter]":
        """The parameters that change, by name."""
        return {name: one for name, one in self.model.named_parameters() if one.requires_grad}

    def plain(self) -> "PreTrainedModel":
        """The model as transformers loads it: adapters are merged into the weights of a copy."""
        if self.adapted is None:
            return self.model
        if getattr(self.model, "is_quantized", False):
            return self._dequantized()
        return copy.deepcopy(self.adapted).merge_and_unload()

    def _dequantized(self) -> "PreTrainedModel":
        """The weights that quantised layers and adapters compute with, in fp32, on the CPU.

        peft would round what it merges to 4 bits again.
        """
        from torch.nn import Linear

        from qa_assets.models.t5.packed import weight_of

        config = copy.deepcopy(self.model.config)
        for name in ("quantization_config", "_pre_quantization_dtype"):
            vars(config).pop(name, None)
        plain = type(self.model)(config)
        plain.generation_config = copy.deepcopy(self.model.generation_config)
        kept = self.model.state_dict()
        weights = {
            f"{name}.weight": weight_of(self.model.get_submodule(name)).cpu()
            for name, module in plain.named_modules()
            if isinstance(module, Linear)
        }
        plain.load_state_dict({name: kept.get(name) for name in plain.state_dict()} | weights)
        return plain.eval()


def quantization() -> Any:
    """How the base is loaded in 4 bits, as QLoRA does (Dettmers et al., 2023).

    Raises:
        AdapterError: there is no CUDA device, or no bitsandbytes.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise AdapterError(
            "quantize_base (QLoRA) needs a CUDA device and there is none: set it to false, "
            "lora_rank alone trains adapters on a CPU too"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise AdapterError(
            "quantize_base (QLoRA) needs bitsandbytes, which is no dependency of ours: "
            "pip install 'bitsandbytes>=0.45', or set it to false"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def prepare(model: "PreTrainedModel", config: TrainingConfig) -> Trainee:
    """Freeze what is not to be trained, add adapters, set the dropout; the model is changed.

    Raises:
        AdapterError: it has fewer blocks than are to be frozen, or nothing is left to train.
    """
    if config.dropout is not None:
        model.config.dropout_rate = config.dropout
    if config.lora_rank:
        trainee = _with_adapters(model, config)
    else:
        _freeze(model, config)
        trainee = Trainee(model)
    count = sum(one.numel() for one in trainee.trainable.values())
    if not count:
        raise AdapterError("freeze_*: nothing is left to train")
    _log.info("%.2f M of %.1f M parameters are trained", count / 1e6, model.num_parameters() / 1e6)
    return trainee


def _with_adapters(model: "PreTrainedModel", config: TrainingConfig) -> Trainee:
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    if config.quantize_base:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    adapted = get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_2_SEQ_LM,
            r=config.lora_rank,
            lora_alpha=config.lora_alpha * config.lora_rank,
            target_modules=_LINEAR,
        ),
    )
    return Trainee(adapted.get_base_model(), adapted)


def _freeze(model: Any, config: TrainingConfig) -> None:
    frozen = [model.shared] if config.freeze_embeddings else []
    if config.freeze_encoder:
        frozen += [*model.encoder.block, model.encoder.final_layer_norm]
    for stack in (model.encoder, model.decoder):
        if config.freeze_blocks > len(stack.block):
            raise AdapterError(
                f"freeze_blocks={config.freeze_blocks}: the model has {len(stack.block)} blocks"
            )
        frozen += stack.block[: config.freeze_blocks]
    for module in frozen:
        module.requires_grad_(False)
