"""Calibrated abstention: a bias of the logit of abstaining, chosen on held-out examples.

The mathematics is in `abstention`; margins come from a `TaskModel`, which also writes the bias for
the runtimes. `calibration.json` beside it holds the whole outcome.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qa_assets.core import files
from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import Task
from qa_assets.models.base_model import CALIBRATION
from qa_assets.models.loading import model_type
from qa_assets.models.task_model import PredictOptions, TaskModel
from qa_assets.training import abstention

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """The bias to add to the logit of abstaining, and its effect, as in `calibration.json`.

    "f1" in a name is the task's primary score in percent, weighted by `Task.calibration_weights`:
    `f1_before` and `f1_after` on the examples that the bias was chosen on, those in `held_out` by
    cross-validation. The sigmoid of (margin + bias) / temperature is the calibrated probability
    that to abstain is right.
    """

    bias: float
    temperature: float
    f1_before: float
    f1_after: float
    abstained_before: int
    abstained_after: int
    rows: int
    null_text: str
    null_token_id: int
    held_out: dict[str, float]
    folds: list[abstention.Fold]
    risk_coverage: list[dict[str, float]]


def calibrate(
    model: TaskModel, examples: Sequence[Example], options: PredictOptions
) -> Calibration | None:
    """Find the bias with the best mean primary score on examples that were not trained on.

    It is 0 where cross-validation shows a loss. None: the task never abstains.

    Raises:
        BaseModelError: the model has no token or label to abstain with.
    """
    task = model.task
    if task.abstention is None:
        return None
    margins, predictions = model.abstention_margins(examples, options)
    scores = _scores(task, examples, predictions)
    weights = task.calibration_weights(examples)
    answered = [weight * score for weight, score in zip(weights, scores, strict=True)]
    silent = _scores(task, examples, [Prediction("")] * len(examples))
    abstained = [weight * score for weight, score in zip(weights, silent, strict=True)]
    null = [not example.references for example in examples]
    groups = [example.group for example in examples]
    folds = abstention.cross_fit(margins, answered, abstained, null, groups)
    held_out = _held_out(folds)
    bias, before, after = abstention.sweep(margins, answered, abstained)
    if held_out and held_out["f1_after"] < held_out["f1_before"]:
        logger.info("the bias %+.3f does not hold on other groups: none is used", bias)
        bias, after = 0.0, before
    result = Calibration(
        bias=bias,
        temperature=abstention.fit_temperature(margins, null, bias),
        f1_before=100 * before,
        f1_after=100 * after,
        abstained_before=sum(margin > 0 for margin in margins),
        abstained_after=sum(margin + bias > 0 for margin in margins),
        rows=len(examples),
        null_text=task.abstention,
        null_token_id=model.abstention_id(model.tokenizer, task),
        held_out=held_out,
        folds=folds,
        risk_coverage=abstention.risk_coverage(margins, scores),
    )
    logger.info(
        "bias %+.3f: %s %.2f to %.2f (%+.2f on groups it was not chosen on), abstaining %d to %d "
        "of %d",
        bias, task.metrics.primary, result.f1_before, result.f1_after, held_out.get("gain", 0.0),
        result.abstained_before, result.abstained_after, len(examples),
    )  # fmt: skip
    return result


def _scores(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[float]:
    """The primary score of each example, from 0 to 1."""
    return task.score(examples, predictions).rows[task.metrics.primary]


def _held_out(folds: Sequence[abstention.Fold]) -> dict[str, float]:
    """The means of the folds' figures over all rows, and the gain; empty without folds."""
    if not folds:
        return {}
    total = sum(fold.rows for fold in folds)
    names = ("f1_before", "f1_after", "nll_before", "nll_after")
    means = {name: sum(getattr(fold, name) * fold.rows for fold in folds) / total for name in names}
    return means | {"gain": means["f1_after"] - means["f1_before"]}


def apply(model_dir: Path, task: Task, calibration: Calibration | None) -> None:
    """Write a calibration into a Hugging Face directory, in place of an earlier one."""
    if calibration is None:
        return
    model_type(task.kind).set_abstention_bias(model_dir, task, calibration.bias)
    files.write_json(model_dir / CALIBRATION, asdict(calibration))
