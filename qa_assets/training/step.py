"""One optimiser step: forward and backward in parts, gradient accumulation, clipping, update.

With what it consists of: the optimiser and its learning rate, the processes of a data-parallel
training, the count of what is computed. When a step is taken, and what happens between steps, is in
`trainer`.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import get_scheduler

from qa_assets.models import base_model
from qa_assets.models.task_model import TaskModel
from qa_assets.training import dataset
from qa_assets.training.checkpoint import DivergedError, TrainingError
from qa_assets.training.config import TrainingConfig

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Processes:
    """This process, which evaluates and writes if its rank is 0, and the number of all.

    Of several processes a process group of PyTorch must exist.
    """

    rank: int = 0
    world_size: int = 1

    def agree(self, value: float, device: torch.device) -> float:
        """The value of rank 0."""
        if self.world_size == 1:
            return value
        tensor = torch.tensor([value], device=device, dtype=torch.float64)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor.item())

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over all processes; changes the tensor."""
        if self.world_size > 1:
            torch.distributed.all_reduce(value)
            value /= self.world_size
        return value


class Meter:
    """Counts what steps compute, from one point of the history to the next."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self._restart()

    def _restart(self) -> None:
        self.since = time.monotonic()
        self.examples = self.tokens = self.places = 0

    def count(self, batch: dict[str, torch.Tensor]) -> None:
        """Count a batch of `dataset.Dataset`; tokens are those of sources and targets."""
        self.examples += len(batch["labels"])
        self.tokens += int(batch["attention_mask"].sum() + (batch["labels"] >= 0).sum())
        self.places += batch["attention_mask"].numel() + batch["labels"].numel()

    def pause(self, seconds: float) -> None:
        """Leave the time between steps out of the throughput."""
        self.since += seconds

    def read(self) -> dict[str, float]:
        """Throughput of all processes, and the share of padding, since the last call."""
        seconds = time.monotonic() - self.since
        figures = {
            "examples_per_second": self.examples * self.world_size / seconds,
            "tokens_per_second": self.tokens * self.world_size / seconds,
            "padding": 1 - self.tokens / self.places,
        }
        self._restart()
        return figures


def make_optimizer(
    config: TrainingConfig, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser that the configuration names."""
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
    config: TrainingConfig, optimizer: torch.optim.Optimizer, total: int
) -> Callable[[float], float]:
    """A function from the number of steps taken, also a fraction, to the learning rate."""
    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    scheduler = get_scheduler(name, optimizer, min(config.warmup_steps, total), total)
    (factor,) = scheduler.lr_lambdas
    return lambda steps: config.learning_rate * float(factor(steps))


class OptimizerStep:
    """Takes the optimiser steps of one training; changes the model in place."""

    def __init__(
        self,
        config: TrainingConfig,
        task_model: TaskModel,
        optimizer: torch.optim.Optimizer,
        data: dataset.Dataset,
        processes: Processes,
    ) -> None:
        self.config, self.model, self.optimizer = config, task_model.model, optimizer
        self.data, self.processes = data, processes
        self.pad_id = task_model.tokenizer.pad_token_id
        loss = task_model.loss(config.label_smoothing)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # DDP averages the gradients; around a single process it would only cost time
        distributed = torch.nn.parallel.DistributedDataParallel
        self.loss = distributed(loss) if processes.world_size > 1 else loss
        self.losses: list[torch.Tensor] = []
        self.taken = 0

    def __call__(self, step: dataset.Step, number: int, rate: float, meter: Meter) -> None:
        """Take a step, at a learning rate, after `number` others.

        Raises:
            TrainingError: memory runs out.
        """
        # random numbers, too, follow from seed and step
        torch.manual_seed(hash((self.config.seed, number, self.processes.rank)) & 2**63 - 1)
        self.loss.train()
        try:
            loss = self._accumulate(step, meter)
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self.optimizer.zero_grad()
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY):
                raise TrainingError(
                    f"out of memory at step {number + 1}: lower max_batch_tokens "
                    f"({self.config.max_batch_tokens}) and run again: it goes on from the last "
                    "checkpoint, and the examples of a step stay the same"
                ) from error
            raise
        # NaN where a gradient is
        self.losses.append(self.processes.mean(loss) + 0 * norm)
        self.taken = number + 1

    def collect_losses(self) -> list[float]:
        """The mean loss of a target token, by step since the last call.

        Not called after each step: a GPU would have to be waited for.

        Raises:
            DivergedError: a loss or a gradient is not finite.
        """
        for back, loss in enumerate(reversed(self.losses)):
            if not loss.isfinite():
                raise DivergedError(
                    f"loss or gradient at step {self.taken - back} is {loss.item()}: lower the "
                    "learning rate, or compute in fp32"
                )
        losses = [float(loss) for loss in self.losses]
        self.losses.clear()
        return losses

    def _accumulate(self, step: dataset.Step, meter: Meter) -> torch.Tensor:
        """Add up the gradients of this process's parts; returns their loss."""
        device, world_size = self.model.device, self.processes.world_size
        targets = int(self.data.targets.lengths[[n for part in step for n in part]].sum())
        parts = dataset.shard(step, self.processes.rank, world_size)
        # a process without prompts takes part in all-reduce, with gradients of 0
        weight, parts = (1.0, parts) if parts else (0.0, [step[0][:1]])
        total = torch.zeros((), device=device)
        # around all parts, so that the weights are cast once
        with base_model.autocast(self.model, self.config.precision):
            for number, part in enumerate(parts, 1):
                batch = self.data.batch(part, self.pad_id)
                meter.count(batch)
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                with nullcontext() if number == len(parts) else self._no_sync():
                    loss = self.loss(**batch) * (weight * world_size / max(1, targets))
                    with torch.autocast(device.type, enabled=False):
                        loss.backward()
                total += loss.detach()
        return total

    def _no_sync(self) -> "AbstractContextManager[Any]":
        """Accumulate without all-reduce."""
        context: AbstractContextManager[Any] = (
            self.loss.no_sync() if self.processes.world_size > 1 else nullcontext()
        )
        return context
