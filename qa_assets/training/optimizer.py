"""The optimiser, and the schedule of its learning rate."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch


def make_optimizer(
    config: TrainingConfig, parameters: "list[torch.nn.Parameter]"
) -> "torch.optim.Optimizer":
    """The optimiser that the configuration names."""
    import torch

    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rates(
    config: TrainingConfig, optimizer: "torch.optim.Optimizer", total: int
) -> Callable[[float], float]:
    """A function from the number of steps taken, also a fraction, to the learning rate."""
    from transformers import get_scheduler

    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    scheduler = get_scheduler(name, optimizer, min(config.warmup_steps, total), total)
    (factor,) = scheduler.lr_lambdas
    return lambda steps: config.learning_rate * float(factor(steps))
