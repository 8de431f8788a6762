"""`python -m qa_assets.training`: a training by itself, from Parquet to official scores.

Without Ray, Dagster and Spark, for a bare machine with torch, transformers, sentencepiece, pyarrow
and pydantic. Called again after it was stopped, it goes on from its last checkpoint.
"""

import argparse
import json
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qa_assets.models.base_model import BaseModelError
from qa_assets.tasks.question_answering import metric
from qa_assets.training import loop
from qa_assets.training.adapters import AdapterError
from qa_assets.training.checkpoint import TrainingError
from qa_assets.training.config import TrainingConfig
from qa_assets.training.features import RowsError
from qa_assets.training.final import Scores, evaluate
from qa_assets.training.result import TrainingResult

_UNFINISHED = 75  # sysexits' "try again"
_log = logging.getLogger("qa_assets.training")


def main(arguments: list[str] | None = None) -> int:
    """Train, then evaluate; returns the exit code: 75 where `--max-seconds` stopped it."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    parser = _parser()
    given = parser.parse_args(arguments)
    limit = given.max_seconds
    if given.test and limit is not None and limit <= given.evaluation_seconds:
        parser.error(
            f"--max-seconds {limit:g} leaves no time for the evaluation on --test, for "
            f"which --evaluation-seconds ({given.evaluation_seconds:g}) are set aside"
        )
    started = time.monotonic()
    try:
        config = _config(given)
        result = loop.train(
            config,
            given.base,
            given.train,
            given.valid,
            given.out,
            score=metric.score,
            null_text=given.null_text,
            train_limit=given.train_limit,
            cache=given.out.parent / "features",
            max_seconds=given.max_seconds,
        )
        if not result.finished:
            _log.info("stopped at step %d; the same command goes on from there", result.steps)
            return _UNFINISHED
        left = given.max_seconds and given.max_seconds - (time.monotonic() - started)
        if given.test is None or (left is not None and left < given.evaluation_seconds):
            _log.info("trained, valid F1 %.2f; not yet evaluated on test", result.metrics["f1"])
            return _UNFINISHED if given.test else 0
        scores = evaluate(
            result.checkpoint, given.valid, given.test, config, given.null_text,
            given.out / "scores.json",
        )  # fmt: skip
    except (TrainingError, AdapterError, BaseModelError, RowsError, ValidationError) as error:
        _log.error("%s", error)
        return 1
    sys.stdout.write(row(given, config, result, scores) + "\n")
    return 0


def row(
    given: argparse.Namespace, config: TrainingConfig, result: TrainingResult, scores: Scores
) -> str:
    """The rows of docs/results.md for a training: uncalibrated and calibrated."""
    data = f"{given.train_limit or 'all'} of {given.train.name}"
    where = f"{hardware()}, {result.seconds / 60:.0f} min"
    changed = " ".join(f"--set {one}" for one in given.set)
    lines = []
    for name, found in scores.items():
        cells = [
            f"{found[f'{part}exact']:.2f} / {found[f'{part}f1']:.2f}"
            for part in ("", "HasAns_", "NoAns_")
        ]
        lines.append(
            f"| `{changed or 'defaults'}` | {data} | {given.base.rsplit('/', 1)[-1]} "
            f"| {config.seed} | {where} | {name}, {found['total']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def hardware() -> str:
    """What was computed on."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"


def _config(given: argparse.Namespace) -> TrainingConfig:
    values: dict[str, Any] = json.loads(given.config.read_text()) if given.config else {}
    for one in given.set:
        name, _, value = one.partition("=")
        values[name] = None if value == "none" else value
    return TrainingConfig(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qa_assets.training", description=__doc__)
    add = parser.add_argument
    add("--base", required=True, help="a Hugging Face directory, or an id on the hub")
    add("--train", type=Path, required=True, help="Parquet of rows to learn from")
    add("--valid", type=Path, required=True, help="Parquet of rows to choose and calibrate by")
    add("--test", type=Path, help="Parquet of rows to report on")
    add("--out", type=Path, required=True, help="directory of the training")
    add("--config", type=Path, help="JSON of hyperparameters, see training/config.py")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    add("--null-text", default="unavailable", help="what the model says to abstain")
    add("--train-limit", type=int, help="learn from so many rows, drawn at random")
    add("--max-seconds", type=float, help="stop with a checkpoint after so long, exit code 75")
    add(
        "--evaluation-seconds", type=float, default=240,
        help="time that the evaluation needs: with less of --max-seconds left it is put off",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
