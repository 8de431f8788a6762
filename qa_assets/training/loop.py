"""A training from rows to the best checkpoint: plain PyTorch, on a CPU or a GPU.

Knows nothing of Ray; `search` hands it a callback to report to. How a step is taken is in `steps`,
when a training evaluates and stops in `run`, what a broken one goes on from in `state`.
"""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from qa_assets.core import files
from qa_assets.training import checkpoint
from qa_assets.training.config import TrainingConfig
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets.training.run import Report, Run, Score

_log = logging.getLogger(__name__)


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
    cache: Path | None = None,
    max_seconds: float | None = None,
) -> TrainingResult:
    """Fine-tune a model; leave the best in `out/checkpoint`, the rest in `out/training.json`.

    Uses the current CUDA device if there is one. The same configuration and seed take the same
    steps on the same machine, unless `max_minutes` cuts them short. What was broken off goes on
    from its last checkpoint when it is called again, and what has finished returns at once.

    Args:
        config: the hyperparameters.
        base: hub id or Hugging Face directory to start from.
        train_rows: Parquet of rows to learn from, see `features.Row`.
        valid_rows: Parquet of rows to evaluate on, of which `config.eval_questions` are taken.
        out: directory, made if it is not there; all processes must see it.
        score: of answers against references, in percent, `f1` among it.
        null_text: what the model says where there is no answer; scored as "".
        report: called after every evaluation with its metrics and the best checkpoint so far; on
            ranks other than 0 with no metrics and no checkpoint.
        stop: asked after every step whether to end early, with a last evaluation.
        rank: of this process.
        world_size: processes; above 1 a process group of PyTorch must exist.
        train_limit: learn from so many rows at most.
        cache: directory to keep token ids in.
        max_seconds: return after so long with a checkpoint, unfinished, to go on at the next call.

    Raises:
        DivergedError: a loss or a gradient is not finite. The last checkpoint is kept.
        TrainingError: no memory or no disk is left, which keeps it too, or `out` is of another
            training.
        AdapterError: the model's weights cannot be trained as the configuration says.
        BaseModelError: the model cannot be loaded.
        RowsError: the rows cannot be read.
    """
    started = time.monotonic()
    with checkpoint.only_one(out) if rank == 0 else nullcontext():
        if rank == 0:
            files.recover(out)
        run = Run(config, base, train_rows, valid_rows, out, score, null_text, report)
        run.prepare(train_limit, cache)
        if (out / RESULT).exists():
            result = TrainingResult.read(out / RESULT)
            checkpoint.require_same(out, result.shape, run.shape)
            _log.info("%s has finished already", out)
            return result
        run.start(stop, rank, world_size)
        left = max_seconds and max_seconds - (time.monotonic() - started)
        return run.finish(left)
