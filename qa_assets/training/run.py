"""The course of one training: when it evaluates, keeps its best, writes checkpoints and stops."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from qa_assets.core.files import hash_files
from qa_assets.models import base_model, decoding
from qa_assets.training import adapters, checkpoint, dataset, features
from qa_assets.training.config import TrainingConfig
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets.training.steps import Stepper

Score = Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]]
Report = Callable[[dict[str, float], Path | None], None]

_log = logging.getLogger(__name__)
_POINTS = "points"
_BEST = "checkpoint"


class Run:
    """One call of `loop.train`, where the arguments are explained."""

    def __init__(
        self,
        config: TrainingConfig,
        base: str | Path,
        train_rows: Path,
        valid_rows: Path,
        out: Path,
        score: Score,
        null_text: str,
        report: Report | None,
    ) -> None:
        self.config, self.base, self.out = config, base, out
        self.train_rows, self.valid_rows = train_rows, valid_rows
        self.score, self.null_text, self.report = score, null_text, report

    def prepare(self, train_limit: int | None, cache: Path | None) -> None:
        """Load the model and what it learns from."""
        config = self.config
        quantization = adapters.quantization() if config.quantize_base else None
        self.model, self.tokenizer = base_model.load(self.base, quantization)
        self.valid = features.read_rows(self.valid_rows, config.eval_questions, config.seed)
        self.examples, key = dataset.load(
            self.train_rows, self.tokenizer, config, self.null_text, cache, train_limit
        )
        weights = Path(self.base) / "model.safetensors"
        self.shape = config.shape | {
            "base": hash_files(weights) if weights.exists() else str(self.base),
            "train": key,
            "valid": hash_files(self.valid_rows),
        }

    def start(self, stop: Callable[[], bool] | None, rank: int, world_size: int) -> None:
        """Go to where the training is to go on from."""
        from transformers import set_seed

        set_seed(self.config.seed)  # adapters begin with random numbers
        self.rank = rank
        self.trainee = adapters.prepare(self.model, self.config)
        self.stepper = Stepper(
            self.config, self.trainee, self.examples, self.tokenizer.pad_token_id, stop, rank,
            world_size,
        )  # fmt: skip
        _log.info(
            "%d questions, %d steps of %d source tokens on %s",
            len(self.examples.sources.lengths), self.stepper.total, self.config.batch_tokens,
            self.stepper.model.device,
        )  # fmt: skip
        parameters = self.trainee.trainable
        self.stepper.position = checkpoint.restore(
            self.out, self.shape, parameters, self.stepper.optimizer
        )
        best = self.out / _BEST / base_model.RESULTS
        if self.stepper.position.step and best.exists():
            # may be of an evaluation after the position was kept, which is to be done again
            self.stepper.position.metrics = json.loads(best.read_text(encoding="utf-8"))

    def finish(self, max_seconds: float | None) -> TrainingResult:
        """Train to the end, or to the end of the time."""
        position = self.stepper.position
        started = saved = time.monotonic()
        for progress in self.stepper.steps():
            due = progress >= 1 or progress * self.config.evaluations >= (
                len(position.evaluations) + 1
            )
            if due and self._evaluate() and progress < 1:
                break
            if progress >= 1:
                break
            now = time.monotonic()
            if max_seconds is not None and self.stepper.agreed(now - started > max_seconds):
                self._save()
                return self._result(finished=False)
            if self.rank == 0 and (due or now - saved > 60 * self.config.checkpoint_minutes):
                self._save()
                saved = time.monotonic()
        if self.config.average_last > 1 and self.rank == 0:
            self._try_average()
        result = self._result(finished=True)
        if self.rank == 0:
            result.write(self.out / RESULT)
            checkpoint.clear(self.out)
            shutil.rmtree(self.out / _POINTS, ignore_errors=True)
        return result

    def _evaluate(self) -> bool:
        """Evaluate, keep the model if it is the best; return whether to stop for want of better."""
        position, patience = self.stepper.position, self.config.patience
        metrics: dict[str, float] = {
            "step": position.step,
            "epoch": position.step / self.stepper.per_epoch,
            "loss": position.history[-1]["loss"] if position.history else math.nan,
            "evaluation": len(position.evaluations) + 1,
        }
        if self.rank == 0:
            self.stepper.settle()
            metrics |= self._scores()
            self._keep_best(metrics)
            if self.config.average_last > 1:
                points = self.out / _POINTS
                points.mkdir(exist_ok=True)
                with checkpoint.room_for(points):
                    path = points / f"{metrics['evaluation']}.safetensors"
                    checkpoint.write_tensors(dict(self.trainee.trainable), path)
        position.evaluations.append(metrics)
        if self.report:
            self.report(metrics, self.out / _BEST if self.rank == 0 else None)
        since = metrics["evaluation"] - position.metrics.get("evaluation", 0)
        return bool(self.stepper.agreed(patience is not None and since >= patience))

    def _keep_best(self, metrics: dict[str, float]) -> None:
        position = self.stepper.position
        if metrics["f1"] > position.metrics.get("f1", -1):
            position.metrics = metrics
            with checkpoint.room_for(self.out / _BEST):
                base_model.save(
                    self.trainee.plain(), self.tokenizer, self.out / _BEST, results=metrics
                )

    def _scores(self) -> dict[str, float]:
        answers, _ = decoding.answer(
            self.stepper.model,
            self.tokenizer,
            [row["source"] for row in self.valid],
            self.null_text,
            **self.config.answering,
        )
        scores = self.score(answers, [row["references"] for row in self.valid])
        _log.info(
            "valid: %s",
            ", ".join(f"{name} {one:.1f}" for name, one in scores.items() if "total" not in name),
        )
        return scores

    def _try_average(self) -> None:
        """Evaluate the mean of the weights at the last evaluations; keep it if it is the best."""
        import torch

        position = self.stepper.position
        count = len(position.evaluations)
        numbers = range(max(1, count - self.config.average_last + 1), count + 1)
        points = [
            checkpoint.read_tensors(self.out / _POINTS / f"{number}.safetensors")
            for number in numbers
        ]
        with torch.no_grad():
            for name, parameter in self.trainee.trainable.items():
                parameter.copy_(torch.stack([point[name] for point in points]).mean(0))
        metrics = position.evaluations[-1] | {"averaged": float(len(points))} | self._scores()
        position.evaluations.append(metrics)
        self._keep_best(metrics)

    def _save(self) -> None:
        if self.rank:
            return
        self.stepper.settle()
        position = self.stepper.position
        values = asdict(position) | {"seconds": self.stepper.elapsed}
        checkpoint.save(
            self.out, self.shape, checkpoint.Position(**values), self.trainee.trainable,
            self.stepper.optimizer,
        )  # fmt: skip

    def _result(self, finished: bool) -> TrainingResult:
        position = self.stepper.position
        return TrainingResult(
            self.out / _BEST,
            metrics=position.metrics,
            evaluations=position.evaluations,
            history=position.history,
            steps=position.step,
            seconds=self.stepper.elapsed,
            consumed=position.consumed,
            finished=finished,
            shape=self.shape,
            **self.examples.counts,
        )
