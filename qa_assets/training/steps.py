"""Optimiser steps: learning rate, gradients, the limit in time, and the history of the loss."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from qa_assets.models import base_model
from qa_assets.training import dataset
from qa_assets.training.adapters import Trainee
from qa_assets.training.checkpoint import DivergedError, Position, TrainingError
from qa_assets.training.config import TrainingConfig
from qa_assets.training.optimizer import learning_rates, make_optimizer
from qa_assets.training.throughput import Meter

if TYPE_CHECKING:
    import torch

_POINTS = 200  # of the loss history
_TRUST = 0.25  # share of the time limit after which the pace is known


class Stepper:
    """Takes optimiser steps with one model, and knows how far the training has come."""

    def __init__(
        self,
        config: TrainingConfig,
        trainee: Trainee,
        examples: dataset.Examples,
        pad_id: int,
        stop: Callable[[], bool] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Move the model to the current CUDA device, if there is one.

        Args:
            config: the hyperparameters.
            trainee: is changed in place.
            examples: what to learn from.
            pad_id: token to pad sources with.
            stop: asked on rank 0 after every step whether to end.
            rank: of this process.
            world_size: processes; above 1 a process group of PyTorch must exist.
        """
        import torch

        from qa_assets.models.t5.training import FastT5

        self.config, self.examples, self.pad_id = config, examples, pad_id
        self.stop, self.rank, self.world_size = stop, rank, world_size
        self.per_epoch = len(self.epoch(0))
        self.total = max(1, round(config.epochs * self.per_epoch))
        self.model = trainee.model.to("cuda" if torch.cuda.is_available() else "cpu")
        loss = FastT5(self.model, config.label_smoothing)
        # DDP averages the gradients; around a single process it would only cost time
        distributed = torch.nn.parallel.DistributedDataParallel
        self.loss = distributed(loss) if world_size > 1 else loss
        self.parameters = list(trainee.trainable.values())
        self.optimizer = make_optimizer(config, self.parameters)
        self.rate = learning_rates(config, self.optimizer, self.total)
        self.position = Position()
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start, those before an interruption included."""
        return self.position.seconds + time.monotonic() - self.started

    def steps(self) -> Iterator[float]:
        """Take all steps that are left; yield after each the progress of the training (0 to 1).

        The position's history gets `step, loss, learning_rate, questions_per_second,
        tokens_per_second, padding` (a share) about two hundred times, each over the steps since
        the time before.

        Raises:
            DivergedError: the loss or a gradient is not finite any more.
            TrainingError: memory runs out.
        """
        meter = Meter(self.world_size)
        every = max(1, self.total // _POINTS)
        position = self.position
        progress = self._progress(position.step) if position.step else 0.0
        self._losses: list[torch.Tensor] = []
        for step in self._steps_from(position.step):
            rate = self.rate(max(float(position.step), progress * self.total))
            self.loss.train()
            try:
                self._losses.append(self._step(step, rate, meter))
            except (MemoryError, RuntimeError) as error:
                raise self._explained(error) from error
            position.step += 1
            position.consumed = _chained(position.consumed, step)
            progress = self._progress(position.step)
            if position.step % every == 0 or progress >= 1:
                # looked at only now, so that a GPU need not be waited for at every step
                self.settle()
                loss = sum(position.losses) / len(position.losses)
                position.losses.clear()
                position.history.append(
                    meter.point(position.step, self.total, loss, rate, self.elapsed, progress)
                )
            before = time.monotonic()
            yield progress
            meter.pause(time.monotonic() - before)
            if progress >= 1:
                return

    def settle(self) -> None:
        """Have the losses of all steps in the position.

        Raises:
            DivergedError: one is not finite.
        """
        for back, loss in enumerate(reversed(self._losses)):
            if not loss.isfinite():
                raise DivergedError(
                    f"loss or gradient at step {self.position.step - back} is {loss.item()}: lower "
                    "the learning rate, or compute in fp32"
                )
        self.position.losses += [float(loss) for loss in self._losses]
        self._losses.clear()

    def epoch(self, number: int) -> list[dataset.Step]:
        """The steps of an epoch, counted from 0."""
        return dataset.epoch_steps(
            self.examples.sources.lengths, self.examples.targets.lengths, self.config, number
        )

    def _steps_from(self, number: int) -> Iterator[dataset.Step]:
        """The steps of one epoch after the other, without end, from one on."""
        epoch = 0
        while True:
            steps = self.epoch(epoch)
            yield from steps[number:]
            number = max(0, number - len(steps))
            epoch += 1

    def _step(self, step: dataset.Step, rate: float, meter: Meter) -> "torch.Tensor":
        """Take one optimiser step, and return its loss on the device; NaN if a gradient is."""
        import torch

        # so that random numbers, too, follow from seed and step
        torch.manual_seed(hash((self.config.seed, self.position.step, self.rank)) & 2**63 - 1)
        targets = int(self.examples.targets.lengths[[n for part in step for n in part]].sum())
        mine = dataset.share(step, self.rank, self.world_size)
        # one that gets nothing must still take part in the exchange of gradients
        weight, mine = (1.0, mine) if mine else (0.0, [step[0][:1]])
        total = torch.zeros((), device=self.model.device)
        # around all parts, so that the weights are cast once
        with base_model.autocast(self.model, self.config.precision):
            for number, part in enumerate(mine, 1):
                batch = self.examples.batch(part, self.pad_id)
                meter.count(batch)
                batch = {name: one.to(self.model.device) for name, one in batch.items()}
                with self._gathered() if number < len(mine) else nullcontext():
                    loss = self.loss(**batch) * (weight * self.world_size / targets)
                    with torch.autocast(self.model.device.type, enabled=False):
                        loss.backward()
                total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self._mean(total) + 0 * norm

    def _gathered(self) -> "AbstractContextManager[Any]":
        """Add up gradients here, before the other processes are asked for theirs."""
        context: AbstractContextManager[Any] = (
            self.loss.no_sync() if self.world_size > 1 else nullcontext()
        )
        return context

    def _progress(self, step: int) -> float:
        """Share of the training that is done: of its steps, or of its time if that runs out first.

        The time counts once the pace is known, so that a training that keeps within its limit takes
        the same steps whatever the machine does meanwhile.
        """
        share = step / self.total
        if self.config.max_minutes is not None:
            time_share = self.elapsed / (60 * self.config.max_minutes)
            if time_share > _TRUST:
                share = max(share, time_share)
        if self.rank == 0 and self.stop and self.stop():
            share = 1.0
        return min(1.0, self.agreed(share))

    def agreed(self, value: float) -> float:
        """The value that rank 0 has, for all to do the same."""
        import torch

        if self.world_size == 1:
            return value
        tensor = torch.tensor([value], device=self.model.device, dtype=torch.float64)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor.item())

    def _mean(self, value: "torch.Tensor") -> "torch.Tensor":
        """The mean over all processes."""
        import torch

        if self.world_size > 1:
            torch.distributed.all_reduce(value)
            value /= self.world_size
        return value

    def _explained(self, error: BaseException) -> BaseException:
        texts = ("out of memory", "can't allocate memory", "not enough memory")
        if not isinstance(error, MemoryError) and not any(text in str(error) for text in texts):
            return error
        return TrainingError(
            f"out of memory at step {self.position.step + 1}: lower max_batch_tokens "
            f"({self.config.max_batch_tokens}) and run again: it goes on from the last checkpoint, "
            "and the questions of a step stay the same"
        )


def _chained(digest: str, step: dataset.Step) -> str:
    numbers = [number for part in step for number in part]
    return hashlib.sha256(f"{digest} {numbers}".encode()).hexdigest()
