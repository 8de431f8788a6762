"""`qa-assets ask`: one request to the champion."""

import errno
import json
from pathlib import Path

import typer

from qa_assets.cli.choice import fail
from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import ArtifactMissingError
from qa_assets.core.examples import Example, Prediction
from qa_assets.core.task import load_task
from qa_assets.settings import Settings
from qa_assets.training.config import TrainingConfig


def answer(
    settings: Settings, pipeline: Pipeline, text: str, context: str | None, model: Path | None
) -> int:
    """Print the prediction, or that there is none; returns the exit code."""
    task, config = pipeline.task, pipeline.config.training
    fields = list(task.messages.inputs)
    if (context is not None) != (len(fields) > 1):
        verb = "takes no" if len(fields) == 1 else "needs a"
        return fail(f"pipeline {pipeline.name} {verb} --context")
    texts = [text]
    if context is not None:
        try:
            texts.append(read_context(context))
        except (OSError, UnicodeDecodeError) as error:
            return fail(f"--context {context}: {error}")
    for field, value in zip(fields, texts, strict=True):
        if not value.strip():
            return fail(f"the {field} is empty")
    if model is None:
        try:
            champion = pipeline.store(settings).latest("champion")
        except ArtifactMissingError as error:
            return fail(f"{error} (make run PIPELINE={pipeline.name}), or give --model")
        model, config = champion.path, TrainingConfig(**champion.info["config"])
        task = load_task(**champion.info["task"])

    from qa_assets.models.base_model import BaseModelError
    from qa_assets.models.family import predict

    example = Example("", "", dict(zip(fields, texts, strict=True)))
    try:
        (prediction,) = predict(model, task, [example], config.predict_options)
    except BaseModelError as error:
        return fail(str(error))
    _show(prediction, pipeline)
    return 0


def _show(prediction: Prediction, pipeline: Pipeline) -> None:
    words = pipeline.task.words
    typer.echo(prediction.text or f"(no {words.response})")
    best = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:3]
    if best:
        typer.echo(json.dumps({label: round(value, 3) for label, value in best}), err=True)


def read_context(context: str) -> str:
    """The contents of the file of that name, or the text itself where there is none."""
    try:
        return Path(context).read_text(encoding="utf-8")
    except FileNotFoundError:
        return context
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return context
        raise
