"""One optimiser step: forward and backward in parts, gradient accumulation, clipping, update.

When a step is taken, and what happens between steps, is in `trainer`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from qa_assets.models import base_model
from qa_assets.models.task_model import TaskModel
from qa_assets.training import dataset
from qa_assets.training.checkpoint import DivergedError, TrainingError
from qa_assets.training.config import TrainingConfig
from qa_assets.training.distributed import Processes
from qa_assets.training.throughput import Meter

if TYPE_CHECKING:
    import torch

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class OptimizerStep:
    """Takes the optimiser steps of one training; changes the model in place."""

    def __init__(
        self,
        config: TrainingConfig,
        trained: TaskModel,
        optimizer: "torch.optim.Optimizer",
        data: dataset.Dataset,
        processes: Processes,
    ) -> None:
        import torch

        self.config, self.model, self.optimizer = config, trained.model, optimizer
        self.data, self.processes = data, processes
        self.pad_id = trained.tokenizer.pad_token_id
        loss = trained.loss(config.label_smoothing)
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
        import torch

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

    def _accumulate(self, step: dataset.Step, meter: Meter) -> "torch.Tensor":
        """Add up the gradients of this process's parts; returns their loss."""
        import torch

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
