"""Optimiser steps: learning rate, gradients, the limit in time, and the history of the loss."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from qa_assets.training import base_model, features
from qa_assets.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)
_LOG_SECONDS = 5.0
_POINTS = 200  # of the loss history
_TRUST = 0.25  # share of the time limit after which the pace is known


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names the step."""


def learning_rate(config: TrainingConfig, step: int, progress: float) -> float:
    """The learning rate of a step (from 1), `progress` (0 to 1) into the training."""
    warm_up = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    shape = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": (1.0 + math.cos(math.pi * progress)) / 2,
    }[config.schedule]
    return config.learning_rate * warm_up * shape


class Stepper:
    """Takes optimiser steps with one model, and knows how far the training has come."""

    def __init__(
        self,
        config: TrainingConfig,
        model: "PreTrainedModel",
        encoded: features.Features,
        pad_id: int,
        stop: Callable[[], bool] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Move the model to the current CUDA device, if there is one.

        Args:
            config: the hyperparameters.
            model: is changed in place.
            encoded: what to learn from.
            pad_id: token to pad sources with.
            stop: asked on rank 0 after every step whether to end.
            rank: of this process.
            world_size: processes; above 1 a process group of PyTorch must exist.
        """
        import torch

        if len(encoded.sources) < world_size:
            raise TrainingError(f"{len(encoded.sources)} rows for {world_size} workers")
        torch.set_float32_matmul_precision("high")
        self.config, self.encoded, self.pad_id = config, encoded, pad_id
        self.stop, self.rank, self.world_size = stop, rank, world_size
        self.lengths = [len(source) for source in encoded.sources]
        self.per_epoch = math.ceil(len(self.lengths) / config.batch_size)
        self.total = max(1, round(config.epochs * self.per_epoch))
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        # DDP averages the gradients; around a single process it would only cost time
        distributed = torch.nn.parallel.DistributedDataParallel
        self.forward = distributed(self.model) if world_size > 1 else self.model
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            betas=(0.9, config.adam_beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def steps(self, history: list[dict[str, float]]) -> Iterator[tuple[int, float]]:
        """Take all steps; yield after each its number (from 1) and the progress (0 to 1).

        Args:
            history: gets `step, loss, learning_rate, questions_per_second, padding` (a share) about
                two hundred times, each over the steps since the time before.

        Raises:
            TrainingError: the loss is not finite any more.
        """
        meter = _Meter(self)
        every = max(1, self.total // _POINTS)
        progress = 0.0
        losses: list[torch.Tensor] = []
        for step, numbers in enumerate(self._batches(), 1):
            rate = learning_rate(self.config, step, progress)
            self.model.train()
            losses.append(self._step(numbers, rate, meter))
            progress = self._progress(step)
            if step % every == 0 or progress >= 1:
                # looked at only now, so that a GPU need not be waited for at every step
                history.append(meter.point(step, _finite(losses, step), rate, progress))
                losses.clear()
            yield step, progress
            if progress >= 1:
                return

    def _batches(self) -> Iterator[list[int]]:
        """This rank's share of the batches of one epoch after the other, without end."""
        epoch = 0
        while True:
            for numbers in features.batches(
                self.lengths, self.config.batch_size, self.config.seed, epoch
            ):
                if len(numbers) >= self.world_size:
                    yield numbers[self.rank :: self.world_size]
            epoch += 1

    def _step(self, numbers: list[int], rate: float, meter: "_Meter") -> "torch.Tensor":
        """Take one optimiser step, and return its loss on the device."""
        import torch

        limit = self.config.max_batch_tokens
        batches = [
            features.collate(self.encoded, part, self.pad_id)
            for part in features.parts(numbers, self.lengths, limit)
        ]
        targets = sum(int((batch["labels"] >= 0).sum()) for batch in batches)
        loss = torch.zeros((), device=self.model.device)
        for number, batch in enumerate(batches, 1):
            meter.count(batch["attention_mask"])
            with self._gathered() if number < len(batches) else nullcontext():
                part = self._summed_loss(batch) / targets
                part.backward()
            loss += part.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def _gathered(self) -> "AbstractContextManager[Any]":
        """Add up gradients here, before the other processes are asked for theirs."""
        context: AbstractContextManager[Any] = (
            self.forward.no_sync() if self.world_size > 1 else nullcontext()
        )
        return context

    def _summed_loss(self, batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
        """The loss of a batch, added up over its target tokens."""
        import torch

        batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        labels = batch.pop("labels")
        # without labels the model leaves the loss to us, which it knows no smoothing for
        inputs = self.model.prepare_decoder_input_ids_from_labels(labels=labels)
        with base_model.autocast(self.model, self.config.precision):
            logits = self.forward(**batch, decoder_input_ids=inputs, use_cache=False).logits
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(),
            labels.flatten(),
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )

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
        return min(1.0, self._agreed(share))

    def _agreed(self, value: float) -> float:
        """The value that rank 0 has, for all to stop at the same step."""
        import torch

        if self.world_size == 1:
            return value
        tensor = torch.tensor([value], device=self.model.device)
        torch.distributed.broadcast(tensor, 0)
        return float(tensor.item())


def _finite(losses: "list[torch.Tensor]", last_step: int) -> float:
    """The mean of the losses of the steps up to `last_step`."""
    import torch

    values = torch.stack(losses)
    broken = (~values.isfinite()).nonzero()
    if len(broken):
        step = last_step - len(losses) + 1 + int(broken[0])
        raise TrainingError(
            f"the loss at step {step} is {values[broken[0]].item()}: lower the learning rate, "
            "or compute in fp32"
        )
    return float(values.mean())


class _Meter:
    """Measures how fast the steps are, and logs it every few seconds."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.logged = time.monotonic()
        self._reset()

    def _reset(self) -> None:
        self.since = time.monotonic()
        self.questions = self.tokens = self.places = 0

    def count(self, mask: "torch.Tensor") -> None:
        """Count a batch with this attention mask, of shape [questions, places]."""
        self.questions += len(mask)
        self.tokens += int(mask.sum())
        self.places += mask.numel()

    def point(self, step: int, loss: float, rate: float, progress: float) -> dict[str, float]:
        """A point of the history, over what was counted since the last."""
        seconds = time.monotonic() - self.since
        point = {
            "step": step,
            "loss": loss,
            "learning_rate": rate,
            "questions_per_second": self.questions * self.stepper.world_size / seconds,
            "padding": 1 - self.tokens / self.places,
        }
        if time.monotonic() - self.logged > _LOG_SECONDS or progress >= 1:
            self.logged = time.monotonic()
            _log.info(
                "step %d: loss %.3f, learning rate %.1e, %.0f questions/s, %.0f tokens/s, "
                "%.0f %% padding, %.0f s to go",
                step, loss, rate, point["questions_per_second"],
                self.tokens * self.stepper.world_size / seconds, 100 * point["padding"],
                self.stepper.elapsed * (1 / progress - 1),
            )  # fmt: skip
        self._reset()
        return point
