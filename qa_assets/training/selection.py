"""From trials to the candidate: the best on valid, with calibrated abstention."""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import Task
from qa_assets.models.base_model import CALIBRATION
from qa_assets.models.loading import load, model_type, predict
from qa_assets.models.task_model import PredictOptions
from qa_assets.training import calibration
from qa_assets.training.config import TrainingConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """The Hugging Face directory of a trial, and its primary score on valid in percent."""

    name: str
    path: Path
    score: float


@dataclass(frozen=True)
class Selection:
    """The chosen trial; figures of `Task.score` on the same valid examples.

    Attributes:
        chosen: the trial's name.
        calibration: None where the task never abstains.
        valid: of the candidate.
        valid_untuned: of the base model.
    """

    chosen: str
    calibration: calibration.Calibration | None
    valid: dict[str, float]
    valid_untuned: dict[str, float]


def select(
    trials: Sequence[Trained],
    base: str | Path,
    task: Task,
    examples: Sequence[Example],
    out: Path,
    config: TrainingConfig,
) -> Selection:
    """Copy the best of the trials to the empty directory `out`, and calibrate its abstention.

    The examples are those of valid; `base` is the model that the trials started from.
    """
    options = config.predict_options
    best = max(trials, key=lambda trial: trial.score)
    logger.info("calibrating %s on %d examples", best.name, len(examples))
    shutil.copytree(best.path, out, dirs_exist_ok=True)
    calibrated = calibration.calibrate(load(out, task), examples, options)
    calibration.apply(out, task, calibrated)
    valid = task.score(examples, predict(out, task, examples, options))
    logger.info("evaluating the untuned model on %d examples", len(examples))
    untuned = task.score(examples, predict(base, task, examples, options))
    return Selection(best.name, calibrated, valid.figures, untuned.figures)


def predict_uncalibrated(
    model_dir: Path,
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    options: PredictOptions,
) -> list[Prediction]:
    """The predictions of a model without its bias for abstention, to show what that is worth.

    `predictions` are those with it: only examples that it can have changed are predicted again.
    """
    result = list(predictions)
    file = model_dir / CALIBRATION
    bias = json.loads(file.read_text(encoding="utf-8"))["bias"] if file.exists() else 0.0
    if not bias:
        return result
    numbers = [
        number
        for number, prediction in enumerate(predictions)
        if (prediction.text == "") == (bias > 0)
    ]
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "model"
        copy.mkdir()
        for path in model_dir.absolute().iterdir():
            (copy / path.name).symlink_to(path)  # a changed file replaces its link
        model_type(task.kind).set_abstention_bias(copy, task, 0.0)
        again = predict(copy, task, [examples[number] for number in numbers], options)
    for number, prediction in zip(numbers, again, strict=True):
        result[number] = prediction
    return result
