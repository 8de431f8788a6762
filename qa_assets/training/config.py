"""The hyperparameters of one fine-tuning, and of a search for them: typed and validated.

Everything else is an argument. Needs pydantic and nothing more, so that a bare machine with torch
and transformers trains by the same configuration as the platform.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Optimizer = Literal["adamw", "adafactor"]
Schedule = Literal["linear", "cosine", "constant"]

_HOW = {"max_batch_tokens", "eval_batch_size", "checkpoint_minutes"}


class TrainingConfig(BaseModel):
    """Hyperparameters of one trial.

    Lengths are in tokens, steps in optimiser steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    optimizer: Optimizer = Field(
        "adamw", description="adafactor, whose steps follow the size of the weights, likes 1e-3."
    )
    learning_rate: float = Field(3e-4, gt=0, lt=1, description="Peak learning rate.")
    schedule: Schedule = Field(
        "linear", description="Shape of the learning rate after the warm-up."
    )
    warmup_steps: int = Field(50, ge=0)
    epochs: float = Field(1.0, gt=0, description="Passes over the training questions.")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="Stop early, with the schedule fitted to it, after this many minutes.",
    )
    batch_tokens: int = Field(
        5000, ge=1, description="Source tokens of an optimiser step, about 200 a SQuAD question."
    )
    max_batch_tokens: int = Field(
        4096,
        ge=1,
        description="Source tokens, padding included, that are computed at a time: a step is taken "
        "in such parts, whose gradients add up. Bounds the memory.",
    )
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    dropout: float | None = Field(None, ge=0, lt=1, description="By default the base model's own.")
    freeze_embeddings: bool = False
    freeze_encoder: bool = False
    freeze_blocks: int = Field(
        0, ge=0, description="First blocks of encoder and decoder that are not trained."
    )
    lora_rank: int = Field(0, ge=0, description="Train adapters of this rank only; 0: all weights.")
    lora_alpha: float = Field(2.0, gt=0, description="What adapters weigh, as a multiple of rank.")
    quantize_base: bool = Field(
        False, description="QLoRA: the base in 4 bits under the adapters. Needs a CUDA device."
    )
    patience: int | None = Field(
        None, ge=1, description="Stop after so many evaluations without a better valid F1."
    )
    average_last: int = Field(
        1,
        ge=1,
        description="Try also the mean of the weights at the last so many evaluations, at the end.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: bf16 autocast where the hardware has it and the model gains by it.",
    )
    max_source_tokens: int = Field(
        512, ge=16, description="Longer contexts become windows, in training and in answering."
    )
    window_overlap_tokens: int = Field(
        128,
        ge=0,
        description="What neighbouring windows share: no shorter answer is cut in all of them.",
    )
    max_target_tokens: int = Field(32, ge=2)
    eval_questions: int = Field(
        500,
        ge=1,
        description="Valid questions decoded at each evaluation during training.",
    )
    eval_batch_size: int = Field(64, ge=1, description="Questions decoded together.")
    evaluations: int = Field(2, ge=1, description="Evaluations over a training.")
    checkpoint_minutes: float = Field(
        5, ge=0, description="Time between checkpoints: what a kill loses at most."
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
                f"average_last={self.average_last} wants as many evaluations, not "
                f"{self.evaluations}"
            )
        return self

    @property
    def shape(self) -> dict[str, Any]:
        """What a training depends on: all but `how`."""
        return self.model_dump(mode="json", exclude=_HOW)

    @property
    def how(self) -> dict[str, Any]:
        """How fast and how safely it runs: may change where a broken training goes on."""
        return self.model_dump(include=_HOW)

    @property
    def decoding(self) -> dict[str, Any]:
        """How answers are decoded: the arguments of `generation.generate` by name."""
        return {
            "max_new_tokens": self.max_target_tokens,
            "batch_size": self.eval_batch_size,
            "precision": self.precision,
        }

    @property
    def answering(self) -> dict[str, Any]:
        """How sources are answered, long ones in windows: the arguments of `generation.answer`."""
        return self.decoding | {
            "max_source_tokens": self.max_source_tokens,
            "window_overlap_tokens": self.window_overlap_tokens,
        }


# for all of SQuAD v2 and a model of Flan-T5-small's size: about 80 questions a step
RECIPE = TrainingConfig(
    learning_rate=5e-4,
    epochs=4,
    batch_tokens=16_000,
    warmup_steps=200,
    evaluations=8,
    eval_questions=2000,
    average_last=3,
)


class SearchSpace(BaseModel):
    """What the trials of a search draw from; the rest is as in their `TrainingConfig`.

    A LoRA rank of 0 trains all weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: tuple[float, float] = Field(
        (1e-4, 1e-3), description="Least and greatest peak, drawn evenly by order of magnitude."
    )
    batch_tokens: tuple[int, ...] = Field((5000, 12000), min_length=1)
    schedule: tuple[Schedule, ...] = Field(("linear", "cosine", "constant"), min_length=1)
    optimizer: tuple[Optimizer, ...] = Field(("adamw", "adafactor"), min_length=1)
    lora_rank: tuple[int, ...] = Field((0, 16), min_length=1)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        least, greatest = self.learning_rate
        if not 0 < least <= greatest < 1:
            raise ValueError(f"learning_rate: 0 < {least} <= {greatest} < 1 does not hold")
        return self
