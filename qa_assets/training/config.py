"""The hyperparameters of one fine-tuning, typed and validated. Everything else is an argument."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingConfig(BaseModel):
    """Hyperparameters of one trial.

    Lengths are in tokens, batches in questions, steps in optimiser steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(3e-4, gt=0, lt=1, description="Peak learning rate of AdamW.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Shape of the learning rate after the warm-up."
    )
    warmup_steps: int = Field(50, ge=0)
    epochs: float = Field(1.0, gt=0, description="Passes over the training questions.")
    max_minutes: float | None = Field(
        None,
        gt=0,
        description="Stop early, with the schedule fitted to it, after this many minutes.",
    )
    batch_size: int = Field(24, ge=1, description="Questions per optimiser step.")
    max_batch_tokens: int = Field(
        2048,
        ge=1,
        description="Source tokens, padding included, that are computed at a time: a longer batch "
        "is taken in parts whose gradients add up. Bounds the memory.",
    )
    weight_decay: float = Field(0.0, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
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
    evaluations: int = Field(2, ge=1, description="Evaluations (and checkpoints) over a training.")
    seed: int = 20

    @property
    def decoding(self) -> dict[str, Any]:
        """How answers are decoded: the arguments of `generation.generate` by name."""
        return {
            "max_new_tokens": self.max_target_tokens,
            "batch_size": self.batch_size,
            "precision": self.precision,
        }

    @property
    def answering(self) -> dict[str, Any]:
        """How sources are answered, long ones in windows: the arguments of `generation.answer`."""
        return self.decoding | {
            "max_source_tokens": self.max_source_tokens,
            "window_overlap_tokens": self.window_overlap_tokens,
        }


class SearchSpace(BaseModel):
    """What the trials of a search draw from; the rest is as in their `TrainingConfig`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: tuple[float, float] = Field(
        (1e-4, 1e-3), description="Least and greatest peak, drawn evenly by order of magnitude."
    )
    batch_size: tuple[int, ...] = Field((16, 24, 32), min_length=1)
    schedule: tuple[Literal["linear", "cosine", "constant"], ...] = Field(
        ("linear", "cosine"), min_length=1
    )
