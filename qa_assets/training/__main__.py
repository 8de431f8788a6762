"""`python -m qa_assets.training`: one training by itself, from Parquet to scores on test.

Without Ray, Dagster and Spark, for a bare machine with torch, transformers, sentencepiece, pyarrow
and pydantic. Called again after it was stopped, it resumes from its last checkpoint.
"""

import argparse
import json
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from qa_assets.core import files
from qa_assets.core.examples import ExamplesError, read_examples
from qa_assets.core.task import Task, load_task, task_names
from qa_assets.models.base_model import BaseModelError
from qa_assets.models.loading import load
from qa_assets.models.task_model import TaskModel
from qa_assets.training import calibration
from qa_assets.training.adapters import AdapterError
from qa_assets.training.checkpoint import TrainingError
from qa_assets.training.config import TrainingConfig
from qa_assets.training.result import TrainingResult
from qa_assets.training.trainer import TrainingInputs, train

logger = logging.getLogger("qa_assets.training")
_UNFINISHED = 75  # sysexits' "try again"
_CALIBRATION_EXAMPLES = 2000


def main(arguments: list[str] | None = None) -> int:
    """Train, then evaluate; returns the exit code: 75 where `--max-seconds` stopped it."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    logging.getLogger("qa_assets").setLevel(logging.INFO)
    parser = _parser()
    options = parser.parse_args(arguments)
    limit = options.max_seconds
    if options.test and limit is not None and limit <= options.evaluation_seconds:
        parser.error(
            f"--max-seconds {limit:g} leaves no time for the evaluation on --test, for "
            f"which --evaluation-seconds ({options.evaluation_seconds:g}) are set aside"
        )
    try:
        return _run(options, time.monotonic())
    except (TrainingError, AdapterError, BaseModelError, ExamplesError, ValidationError) as error:
        logger.error("%s", error)
        return 1


def _run(options: argparse.Namespace, started: float) -> int:
    config = _config(options)
    task = load_task(options.task, options.task_settings)
    inputs = TrainingInputs(task, options.base, options.train, options.valid)
    result = train(
        config,
        inputs,
        options.out,
        train_limit=options.train_limit,
        cache=options.out.parent / "features",
        max_seconds=options.max_seconds,
    )
    if not result.finished:
        logger.info("stopped at step %d; the same command goes on from there", result.steps)
        return _UNFINISHED
    left = options.max_seconds and options.max_seconds - (time.monotonic() - started)
    if options.test is None or (left is not None and left < options.evaluation_seconds):
        primary = task.metrics.primary
        logger.info(
            "trained, valid %s %.2f; not yet evaluated on test", primary, result.metrics[primary]
        )
        return _UNFINISHED if options.test else 0
    scores = _evaluate(result.checkpoint, inputs, config, options)
    sys.stdout.write(_table(options, config, task, result, scores) + "\n")
    return 0


def _evaluate(
    checkpoint: Path, inputs: TrainingInputs, config: TrainingConfig, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Score a checkpoint on test, and leave a calibrated copy beside it as `model`.

    Returns:
        What `scores.json` has as well: figures of `Task.score` by `as trained` and, if calibration
        changes the model, `calibrated`.
    """
    task, test = inputs.task, read_examples(options.test)

    def loaded(model_dir: Path) -> TaskModel:
        model = load(model_dir, task)
        model.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return model

    def scores(model: TaskModel) -> dict[str, float]:
        return task.score(test, model.predict(test, config.predict_options)).figures

    trained = loaded(checkpoint)
    result = {"as trained": scores(trained)}
    valid = read_examples(inputs.valid_rows, _CALIBRATION_EXAMPLES)
    calibrated = calibration.calibrate(trained, valid, config.predict_options)
    copy = checkpoint.with_name("model")
    with files.replacing(copy) as unfinished:
        shutil.copytree(checkpoint, unfinished)
        calibration.apply(unfinished, task, calibrated)
    if calibrated and calibrated.bias:
        result["calibrated"] = scores(loaded(copy))
    files.write_json(options.out / "scores.json", result)
    return result


def _table(
    options: argparse.Namespace,
    config: TrainingConfig,
    task: Task,
    result: TrainingResult,
    scores: Mapping[str, Mapping[str, float]],
) -> str:
    """Rows of docs/results.md: as trained, and calibrated, with `task.metrics.shown` at the end."""
    cuda = torch.cuda.is_available()
    cores = f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"
    row = [
        "`" + (" ".join(f"--set {change}" for change in options.set) or "defaults") + "`",
        f"{options.train_limit or 'all'} of {options.train.name}",
        options.base.rsplit("/", 1)[-1],
        f"{config.seed}",
        f"{torch.cuda.get_device_name() if cuda else cores}, {result.seconds / 60:.0f} min",
    ]
    lines = []
    for name, figures in scores.items():
        tested = f"{name}, {figures['total']}" if "total" in figures else name
        shown = " / ".join(f"{figures[key]:.2f}" for key in task.metrics.shown if key in figures)
        lines.append(f"| {' | '.join([*row, tested, shown])} |")
    return "\n".join(lines)


def _config(options: argparse.Namespace) -> TrainingConfig:
    values: dict[str, Any] = json.loads(options.config.read_text()) if options.config else {}
    for change in options.set:
        name, _, value = change.partition("=")
        values[name] = None if value == "none" else value
    return TrainingConfig(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qa_assets.training", description=__doc__)
    add = parser.add_argument
    add("--task", default="question_answering", choices=task_names())
    add("--task-settings", type=json.loads, default={}, metavar="JSON", help="of the task")
    add("--base", required=True, help="a Hugging Face directory, or an id on the hub")
    add("--train", type=Path, required=True, help="Parquet of examples to learn from")
    add("--valid", type=Path, required=True, help="Parquet of examples to choose and calibrate by")
    add("--test", type=Path, help="Parquet of examples to report on")
    add("--out", type=Path, required=True, help="directory of the training")
    add("--config", type=Path, help="JSON of hyperparameters, see training/config.py")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter")
    add("--train-limit", type=int, help="learn from so many examples, drawn at random")
    add("--max-seconds", type=float, help="stop with a checkpoint after so long, exit code 75")
    add(
        "--evaluation-seconds", type=float, default=240,
        help="time that the evaluation needs: with less of --max-seconds left it is put off",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
