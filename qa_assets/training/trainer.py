"""One training, from examples to the best checkpoint: set-up, steps, evaluations, checkpoints.

Plain PyTorch on a CPU or a GPU, without Ray, which `search` reports to by a callback. An optimiser
step is in `step`, an evaluation in `validation`, what an interrupted training resumes from in
`checkpoint`.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import set_seed

from qa_assets.core import files
from qa_assets.core.examples import read_examples
from qa_assets.core.task import Task
from qa_assets.models import base_model
from qa_assets.models.loading import model_type
from qa_assets.training import adapters, checkpoint, cpu, dataset
from qa_assets.training.config import TrainingConfig
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets.training.step import (
    Meter,
    OptimizerStep,
    Processes,
    learning_rates,
    make_optimizer,
)
from qa_assets.training.validation import BEST, Validation

Report = Callable[[dict[str, float], Path | None], None]

logger = logging.getLogger(__name__)
_HISTORY_POINTS = 200
_TIME_COUNTS = 0.25  # share of the time limit
_LOG_SECONDS = 5.0


@dataclass(frozen=True)
class TrainingInputs:
    """What a training starts from.

    Attributes:
        task: makes prompts of examples, and scores predictions.
        base: hub id or Hugging Face directory of the base model.
        train_rows: Parquet of examples to learn from.
        valid_rows: Parquet of examples to evaluate on.
    """

    task: Task
    base: str | Path
    train_rows: Path
    valid_rows: Path


def train(
    config: TrainingConfig,
    inputs: TrainingInputs,
    out: Path,
    *,
    report: Report | None = None,
    stop: Callable[[], bool] | None = None,
    rank: int = 0,
    world_size: int = 1,
    train_limit: int | None = None,
    cache: Path | None = None,
    max_seconds: float | None = None,
) -> TrainingResult:
    """Fine-tune a model; leave the best in `out/checkpoint`, the rest in `out/training.json`.

    Uses the current CUDA device if there is one. The same configuration and seed take the same
    steps on the same machine, unless `max_minutes` ends them early. An interrupted training resumes
    from its last checkpoint when it is called again; a finished one returns at once.

    Args:
        config: the hyperparameters.
        inputs: task, base model and data; of the valid examples `config.eval_examples` are used.
        out: directory, made if it is not there; all processes must see it.
        report: called after every evaluation with its metrics and the best checkpoint so far; on
            other ranks than 0 without scores and checkpoint.
        stop: asked after every step whether to end early, with a last evaluation.
        rank: of this process.
        world_size: processes; above 1 a process group of PyTorch must exist.
        train_limit: learn from so many examples at most.
        cache: directory to keep token ids in.
        max_seconds: return after so long with a checkpoint, unfinished, to resume at the next call.

    Raises:
        DivergedError: a loss or a gradient is not finite. The last checkpoint is kept.
        TrainingError: no memory or no disk is left, which keeps it too, or `out` is of another
            training.
        AdapterError: the model's weights cannot be trained as the configuration says.
        BaseModelError: the model cannot be loaded.
        ExamplesError: the examples cannot be read.
    """
    started = time.monotonic()
    with checkpoint.only_one(out) if rank == 0 else nullcontext():
        if rank == 0:
            files.recover(out)
        trainer = Trainer(config, inputs, out, Processes(rank, world_size), report, stop)
        trainer.load(train_limit, cache)
        if (out / RESULT).exists():
            result = TrainingResult.read(out / RESULT)
            checkpoint.require_same(out, result.fingerprint, trainer.fingerprint)
            logger.info("%s has finished already", out)
            return result
        trainer.set_up()
        return trainer.fit(max_seconds and max_seconds - (time.monotonic() - started))


@dataclass
class Trainer:
    """One call of `train`, where the arguments are explained."""

    config: TrainingConfig
    inputs: TrainingInputs
    out: Path
    processes: Processes
    report: Report | None
    stop: Callable[[], bool] | None

    def load(self, train_limit: int | None, cache: Path | None) -> None:
        """Load model and data, and take the training's fingerprint."""
        config, inputs = self.config, self.inputs
        set_seed(config.seed)  # a new head begins with random numbers
        quantization = adapters.quantization() if config.quantize_base else None
        self.loaded = model_type(inputs.task.kind).load(inputs.base, inputs.task, quantization)
        base_model.require_positions(self.loaded.model, config.max_source_tokens)
        self.valid = read_examples(inputs.valid_rows, config.eval_examples, config.seed)
        self.data = dataset.load(
            inputs.train_rows, inputs.task, self.loaded.tokenizer, config, cache, train_limit
        )
        weights = Path(inputs.base) / "model.safetensors"
        self.fingerprint = config.fingerprint | {
            "task": inputs.task.spec(),
            "base": files.hash_files(weights) if weights.exists() else str(inputs.base),
            "train": self.data.digest,
            "valid": files.hash_files(inputs.valid_rows),
        }

    def set_up(self) -> None:
        """Choose the weights to train, make the optimiser, and resume from the last checkpoint."""
        config = self.config
        cpu.keep_freed_memory()
        set_seed(config.seed)  # adapters begin with random numbers
        self.trainee = adapters.prepare(self.loaded.model, config)
        self.model = self.trainee.model.to("cuda" if torch.cuda.is_available() else "cpu")
        task_model = replace(self.loaded, model=self.model)
        parameters = self.trainee.trainable
        self.optimizer = make_optimizer(config, list(parameters.values()))
        self.step = OptimizerStep(config, task_model, self.optimizer, self.data, self.processes)
        self.validation = Validation(config, task_model, self.valid, self.trainee, self.out)
        self.per_epoch = len(self.data.epoch(0, config))
        self.total = max(1, round(config.epochs * self.per_epoch))
        self.learning_rate = learning_rates(config, self.optimizer, self.total)
        logger.info(
            "%d prompts, %d steps of %d source tokens on %s",
            len(self.data.sources.lengths), self.total, config.batch_tokens, self.model.device,
        )  # fmt: skip
        self.state = checkpoint.restore(self.out, self.fingerprint, parameters, self.optimizer)
        best = self.out / BEST / base_model.RESULTS
        if self.state.step and best.exists():
            # perhaps of an evaluation after the last checkpoint, which is repeated
            self.state.metrics = json.loads(best.read_text(encoding="utf-8"))
        self.started = self.logged = time.monotonic()

    def fit(self, max_seconds: float | None = None) -> TrainingResult:
        """Train to the end, or until the time is up."""
        config, state = self.config, self.state
        meter = Meter(self.processes.world_size)
        log_every = max(1, self.total // _HISTORY_POINTS)
        started = saved = time.monotonic()
        progress = self._progress() if state.step else 0.0
        for step in self.data.steps_from(state.step, config):
            rate = self.learning_rate(max(float(state.step), progress * self.total))
            self.step(step, state.step, rate, meter)
            state.step += 1
            numbers = [number for part in step for number in part]
            state.consumed = hashlib.sha256(f"{state.consumed} {numbers}".encode()).hexdigest()
            progress = self._progress()
            if state.step % log_every == 0 or progress >= 1:
                self._log(meter, rate, progress)
            paused = time.monotonic()
            due = progress >= 1 or progress * config.evaluations >= len(state.evaluations) + 1
            if (due and self.validate()) or progress >= 1:
                break
            now = time.monotonic()
            if max_seconds is not None and self._agree(now - started > max_seconds):
                self._save()
                return self._result(finished=False)
            if due or now - saved > 60 * config.checkpoint_minutes:
                self._save()
                saved = time.monotonic()
            meter.pause(time.monotonic() - paused)
        return self._finish()

    def validate(self) -> bool:
        """Evaluate; keep the model if it is the best; returns whether patience is at its end."""
        state, patience = self.state, self.config.patience
        metrics: dict[str, float] = {
            "step": state.step,
            "epoch": state.step / self.per_epoch,
            "loss": state.history[-1]["loss"] if state.history else math.nan,
            "evaluation": len(state.evaluations) + 1,
        }
        if self.processes.rank == 0:
            state.losses += self.step.collect_losses()
            self.validation.evaluate(state, metrics)
        state.evaluations.append(metrics)
        if self.report:
            self.report(metrics, self.out / BEST if self.processes.rank == 0 else None)
        since = metrics["evaluation"] - state.metrics.get("evaluation", 0)
        return bool(self._agree(patience is not None and since >= patience))

    def _finish(self) -> TrainingResult:
        if self.processes.rank:
            return self._result(finished=True)
        if self.config.average_last > 1:
            self.validation.evaluate_average(self.state)
        result = self._result(finished=True)
        result.write(self.out / RESULT)
        checkpoint.clear(self.out)
        self.validation.clear()
        return result

    def _save(self) -> None:
        if self.processes.rank:
            return
        self.state.losses += self.step.collect_losses()
        state = replace(self.state, seconds=self.elapsed)
        checkpoint.save(self.out, self.fingerprint, state, self.trainee.trainable, self.optimizer)

    def _result(self, finished: bool) -> TrainingResult:
        state = self.state
        return TrainingResult(
            self.out / BEST,
            metrics=state.metrics,
            evaluations=state.evaluations,
            history=state.history,
            steps=state.step,
            seconds=self.elapsed,
            consumed=state.consumed,
            finished=finished,
            counts=self.data.counts,
            fingerprint=self.fingerprint,
        )

    def _log(self, meter: Meter, rate: float, progress: float) -> None:
        """Add a point to the history: means over the steps since the last."""
        state = self.state
        state.losses += self.step.collect_losses()
        loss = sum(state.losses) / len(state.losses)
        state.losses.clear()
        speed = meter.read()
        state.history.append({"step": state.step, "loss": loss, "learning_rate": rate, **speed})
        if time.monotonic() - self.logged > _LOG_SECONDS or progress >= 1:
            self.logged = time.monotonic()
            logger.info(
                "step %d of %d: loss %.3f, learning rate %.1e, %.0f examples/s, %.0f tokens/s, "
                "%.1f %% padding, %.0f s to go",
                state.step, self.total, loss, rate, speed["examples_per_second"],
                speed["tokens_per_second"], 100 * speed["padding"],
                self.elapsed * (1 / progress - 1),
            )  # fmt: skip

    @property
    def elapsed(self) -> float:
        """Seconds since the start, those before an interruption included."""
        return self.state.seconds + time.monotonic() - self.started

    def _progress(self) -> float:
        """Share of the training that is done: of its steps, or of its time if that runs out first.

        The time counts only once a quarter of it has passed, so that a training well within its
        limit takes the same steps whatever else the machine does.
        """
        share = self.state.step / self.total
        if self.config.max_minutes is not None:
            time_share = self.elapsed / (60 * self.config.max_minutes)
            if time_share > _TIME_COUNTS:
                share = max(share, time_share)
        if self.processes.rank == 0 and self.stop and self.stop():
            share = 1.0
        return min(1.0, self._agree(share))

    def _agree(self, value: float) -> float:
        """The value of rank 0."""
        return self.processes.agree(value, self.model.device)
