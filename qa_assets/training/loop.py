"""A training from rows to the best checkpoint: plain PyTorch, on a CPU or a GPU.

Knows nothing of Ray; `search` hands it a callback to report to. How a step is taken is in `steps`.
"""

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.training import base_model, features, generation
from qa_assets.training.config import TrainingConfig
from qa_assets.training.steps import Stepper

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Score = Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]]
Report = Callable[[dict[str, float], Path | None], None]

_log = logging.getLogger(__name__)
RESULT = "training.json"


@dataclass
class TrainingResult:
    """What a training has come to.

    Attributes:
        checkpoint: Hugging Face directory of the best evaluation.
        metrics: of the best evaluation, scores in percent.
        evaluations: the metrics of every evaluation.
        history: `step, loss, learning_rate, questions_per_second, padding` (a share), each over
            the steps since the point before.
        steps: optimiser steps that were taken.
        seconds: of the whole training, evaluations included.
        truncated: training sources that were cut.
        windowed: training questions whose context became several windows.
        lost: answers that none of those windows holds whole.
        truncated_targets: answers that were cut.
    """

    checkpoint: Path
    metrics: dict[str, float] = field(default_factory=dict)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    truncated: int = 0
    windowed: int = 0
    lost: int = 0
    truncated_targets: int = 0

    def write(self, path: Path) -> None:
        """Write all of it as JSON, whole or not at all."""
        unfinished = path.with_name(f".{path.name}.unfinished")
        unfinished.write_text(json.dumps(asdict(self), default=str, indent=1), encoding="utf-8")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> "TrainingResult":
        """Read what `write` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {"checkpoint": Path(values["checkpoint"])})


def train(
    config: TrainingConfig,
    base: str | Path,
    train_rows: Path,
    valid_rows: Path,
    out: Path,
    *,
    score: Score,
    null_text: str,
    report: Report | None = None,
    stop: Callable[[], bool] | None = None,
    rank: int = 0,
    world_size: int = 1,
    train_limit: int | None = None,
) -> TrainingResult:
    """Fine-tune a model; leave the best in `out/checkpoint`, the rest in `out/training.json`.

    Uses the current CUDA device if there is one. The same configuration and seed take the same
    steps on the same machine, unless `max_minutes` cuts them short.

    Args:
        config: the hyperparameters.
        base: hub id or Hugging Face directory to start from.
        train_rows: Parquet of rows to learn from, see `features.Row`.
        valid_rows: Parquet of rows to evaluate on, of which `config.eval_questions` are taken.
        out: directory, made if it is not there.
        score: of answers against references, in percent, `f1` among it.
        null_text: what the model says where there is no answer; scored as "".
        report: called after every evaluation with its metrics and the best checkpoint so far; on
            ranks other than 0 with no metrics and no checkpoint.
        stop: asked after every step whether to end early, with a last evaluation.
        rank: of this process.
        world_size: processes; above 1 a process group of PyTorch must exist.
        train_limit: learn from so many rows at most.

    Raises:
        TrainingError: a loss that is not finite.
        BaseModelError: the model cannot be loaded.
        RowsError: the rows cannot be read.
    """
    from transformers import set_seed

    set_seed(config.seed)
    model, tokenizer = base_model.load(base)
    rows = features.read_rows(train_rows, train_limit, config.seed)
    valid = features.read_rows(valid_rows, config.eval_questions, config.seed)
    encoded = features.encode(rows, tokenizer, config, null_text)
    stepper = Stepper(config, model, encoded, tokenizer.pad_token_id, stop, rank, world_size)
    _log.info(
        "%d questions, %d steps of %d, %.1f M parameters on %s",
        len(rows), stepper.total, config.batch_size, model.num_parameters() / 1e6, model.device,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    result = TrainingResult(
        out / "checkpoint",
        truncated=encoded.truncated,
        windowed=encoded.windowed,
        lost=encoded.lost,
        truncated_targets=encoded.truncated_targets,
    )
    for step, progress in stepper.steps(result.history):
        due = len(result.evaluations) + 1
        if progress < 1 and progress * config.evaluations < due:
            continue
        result.steps = step
        metrics = {
            "step": step,
            "epoch": step / stepper.per_epoch,
            "loss": result.history[-1]["loss"] if result.history else math.nan,
        }
        if rank == 0:
            metrics |= _evaluate(config, model, tokenizer, valid, score, null_text)
            if metrics["f1"] > result.metrics.get("f1", -1):
                result.metrics = metrics
                base_model.save(model, tokenizer, result.checkpoint)
        result.evaluations.append(metrics)
        if report:
            report(metrics, result.checkpoint if rank == 0 else None)
    result.seconds = stepper.elapsed
    if rank == 0:
        result.write(out / RESULT)
    return result


def _evaluate(
    config: TrainingConfig,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[features.Row],
    score: Score,
    null_text: str,
) -> dict[str, float]:
    answers, _ = generation.answer(
        model, tokenizer, [row["source"] for row in rows], null_text, **config.answering
    )
    scores = score(answers, [row["references"] for row in rows])
    _log.info(
        "valid: %s",
        ", ".join(f"{name} {value:.1f}" for name, value in scores.items() if "total" not in name),
    )
    return scores
