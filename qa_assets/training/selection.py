"""From trials to the candidate: best by valid F1, abstention calibrated."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.models import base_model, decoding
from qa_assets.training import calibration
from qa_assets.training.config import TrainingConfig

Score = Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]]
ScoreEach = Callable[[str, Sequence[str]], float]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A Hugging Face directory and its F1 on valid, in percent."""

    name: str
    path: Path
    valid_f1: float


@dataclass(frozen=True)
class Selection:
    """What was chosen; scores in percent on the same valid rows."""

    chosen: str
    calibration: calibration.Calibration
    valid: dict[str, float]
    valid_untuned: dict[str, float]


def answers(
    model: str | Path, sources: Sequence[str], config: TrainingConfig, null_text: str
) -> list[str]:
    """Greedy answers of a model by name or directory, "" where it says `null_text`."""
    loaded, tokenizer = base_model.load(model)
    return decoding.answer(loaded, tokenizer, sources, null_text, **config.answering)[0]


def answers_with_confidence(
    model: str | Path, sources: Sequence[str], config: TrainingConfig, null_text: str
) -> tuple[list[str], list[float]]:
    """As `answers`, and the model's own probability of each of them."""
    loaded, tokenizer = base_model.load(model)
    return decoding.answer(loaded, tokenizer, sources, null_text, **config.answering)


def uncalibrated_answers(
    model: str | Path,
    sources: Sequence[str],
    answered: Sequence[str],
    config: TrainingConfig,
    null_text: str,
) -> list[str]:
    """What a model would answer without the bias of its abstention, to tell what that is worth.

    Only those sources are decoded again whose answers the bias can have changed.

    Args:
        model: a directory, calibrated or not.
        sources: any number of texts.
        answered: what `answers` returned for them.
        config: how long answers may be.
        null_text: what the model says to abstain.
    """
    loaded, tokenizer = base_model.load(model)
    biases = loaded.generation_config.sequence_bias
    loaded.generation_config.sequence_bias = None
    result = list(answered)
    if biases:
        ((_, bias),) = biases
        numbers = [number for number, text in enumerate(answered) if (text == "") == (bias > 0)]
        again, _ = decoding.answer(
            loaded, tokenizer, [sources[number] for number in numbers], null_text,
            **config.answering,
        )  # fmt: skip
        for number, text in zip(numbers, again, strict=True):
            result[number] = text
    return result


def select(
    trials: Sequence[Trained],
    base: str | Path,
    rows: Sequence[dict[str, Any]],
    out: Path,
    *,
    config: TrainingConfig,
    null_text: str,
    score: Score,
    score_each: ScoreEach,
) -> Selection:
    """Copy the best model to `out`, with the bias of its abstention.

    Args:
        trials: at least one.
        base: what the trials started from.
        rows: valid rows of `source`, `references` and `title`.
        out: an empty directory.
        config: how long sources and answers may be.
        null_text: what the model says to abstain.
        score: scores in percent of answers against references.
        score_each: the same for one answer, from 0 to 1.
    """
    sources = [row["source"] for row in rows]
    references = [row["references"] for row in rows]
    best = max(trials, key=lambda trial: trial.valid_f1)
    _log.info("calibrating %s on %d questions", best.name, len(rows))
    shutil.copytree(best.path, out, dirs_exist_ok=True)
    model, tokenizer = base_model.load(out)
    calibrated = calibration.calibrate(
        model, tokenizer, rows, config=config, null_text=null_text, score_each=score_each
    )
    calibration.apply(out, calibrated)
    valid = score(answers(out, sources, config, null_text), references)
    _log.info("measuring the untuned model on %d questions", len(rows))
    untuned = score(answers(base, sources, config, null_text), references)
    return Selection(best.name, calibrated, valid, untuned)
