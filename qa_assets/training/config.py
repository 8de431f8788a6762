"""Hyperparameters of a fine-tuning, the space of a search for them, and where the search runs.

Needs pydantic only, so that a bare machine trains by the same configuration as the platform. Data,
base model and task are in `trainer.TrainingInputs`.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from qa_assets.models.task_model import PredictOptions

Optimizer = Literal["adamw", "adafactor"]
Schedule = Literal["linear", "cosine", "constant"]

_RUNTIME = {"max_batch_tokens", "eval_batch_size", "checkpoint_minutes"}


class TrainingConfig(BaseModel):
    """Hyperparameters of one trial.

    Lengths are in tokens, steps in optimiser steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    optimizer: Optimizer = Field(
        "adamw", description="adafactor scales its steps by the size of the weights: try 1e-3."
    )
    learning_rate: float = Field(3e-4, gt=0, lt=1, description="Peak learning rate.")
    schedule: Schedule = Field(
        "linear", description="Shape of the learning rate after the warm-up."
    )
    warmup_steps: int = Field(50, ge=0)
    epochs: float = Field(1.0, gt=0, description="Passes over the training examples.")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="Stop after so many minutes at most; the schedule is fitted to it.",
    )
    batch_tokens: int = Field(
        5000, ge=1, description="Source tokens of an optimiser step, padding not counted."
    )
    max_batch_tokens: int = Field(
        4096,
        ge=1,
        description="Source tokens, padding included, that are computed at a time: gradients are "
        "accumulated over such parts of a step. Bounds the memory.",
    )
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    dropout: float | None = Field(None, ge=0, lt=1, description="By default the base model's own.")
    freeze_embeddings: bool = False
    freeze_encoder: bool = False
    freeze_blocks: int = Field(
        0, ge=0, description="Leading blocks of encoder and decoder that are not trained."
    )
    lora_rank: int = Field(0, ge=0, description="Train adapters of this rank only; 0: all weights.")
    lora_alpha: float = Field(2.0, gt=0, description="LoRA's alpha, as a multiple of its rank.")
    quantize_base: bool = Field(
        False, description="QLoRA: the base in 4 bits under the adapters. Needs a CUDA device."
    )
    patience: int | None = Field(
        None, ge=1, description="Stop after so many evaluations without a better score."
    )
    average_last: int = Field(
        1,
        ge=1,
        description="Evaluate at the end also the mean weights of so many last evaluations.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: bf16 autocast where the hardware has it and the model gains by it.",
    )
    max_source_tokens: int = Field(
        512, ge=16, description="Longer examples become windows, or are cut at their end."
    )
    window_overlap_tokens: int = Field(
        128,
        ge=0,
        description="That neighbouring windows share: no shorter span is cut in all of them.",
    )
    max_target_tokens: int = Field(32, ge=2)
    eval_examples: int = Field(
        500, ge=1, description="Valid examples predicted at each evaluation during training."
    )
    eval_batch_size: int = Field(64, ge=1, description="Prompts predicted together.")
    evaluations: int = Field(2, ge=1, description="Evaluations over a training.")
    checkpoint_minutes: float = Field(
        5, ge=0, description="Time between checkpoints: the work that a kill loses at most."
    )
    seed: int = 20

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.quantize_base and not self.lora_rank:
            raise ValueError("quantize_base trains adapters: set lora_rank, 16 say")
        if self.lora_rank and (self.freeze_embeddings or self.freeze_encoder or self.freeze_blocks):
            raise ValueError("lora_rank freezes all but adapters: leave the freeze_* settings out")
        if self.average_last > self.evaluations:
            raise ValueError(
                f"average_last={self.average_last} needs as many evaluations: there are "
                f"{self.evaluations}"
            )
        return self

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the trained weights depend on: all but `runtime_options`."""
        return self.model_dump(mode="json", exclude=_RUNTIME)

    @property
    def runtime_options(self) -> dict[str, Any]:
        """Memory, speed and safety: may differ when an interrupted training is resumed."""
        return self.model_dump(include=_RUNTIME)

    @property
    def predict_options(self) -> PredictOptions:
        """How predictions are computed, in evaluations and afterwards."""
        return PredictOptions(
            max_source_tokens=self.max_source_tokens,
            window_overlap_tokens=self.window_overlap_tokens,
            max_new_tokens=self.max_target_tokens,
            batch_size=self.eval_batch_size,
            precision=self.precision,
        )


class SearchSpace(BaseModel):
    """What the trials of a search sample; all else is as in their `TrainingConfig`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: tuple[float, ...] = Field(
        (1e-4, 1e-3),
        min_length=2,
        max_length=2,
        description="Least and greatest peak; sampled log-uniformly.",
    )
    batch_tokens: tuple[int, ...] = Field((5000, 12000), min_length=1)
    schedule: tuple[Schedule, ...] = Field(("linear", "cosine", "constant"), min_length=1)
    optimizer: tuple[Optimizer, ...] = Field(("adamw", "adafactor"), min_length=1)
    lora_rank: tuple[int, ...] = Field((0, 16), min_length=1, description="0: all weights.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        least, greatest = self.learning_rate
        if not 0 < least <= greatest < 1:
            raise ValueError(f"learning_rate: 0 < {least} <= {greatest} < 1 does not hold")
        return self


class RayConfig(BaseModel):
    """Where Ray Tune runs, and on what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(
        None, description="A running cluster; by default a local one for each training."
    )
    workers: int = Field(1, ge=1, description="Ray Train workers of a trial.")
    use_gpu: bool = False
