"""`qa-assets ask`: one request to the champion."""

import errno
import json
from pathlib import Path
from typing import Annotated

import typer

from qa_assets.cli.choice import QUICKSTART, chosen_pipeline, chosen_settings, fail
from qa_assets.core.artifacts import ArtifactMissingError
from qa_assets.core.examples import Example
from qa_assets.core.task import load_task
from qa_assets.models.base_model import BaseModelError
from qa_assets.models.loading import predict
from qa_assets.training.config import TrainingConfig


def ask(
    text: Annotated[str, typer.Argument(help="The question, or the text to classify.")],
    context: Annotated[
        str | None,
        typer.Option(help="A file, or the text itself, in which to look for the answer."),
    ] = None,
    pipeline: Annotated[str, typer.Option(help="Whose champion to ask.")] = QUICKSTART,
    model: Annotated[
        Path | None, typer.Option(help="A Hugging Face directory; else the champion.")
    ] = None,
) -> int:
    """Ask a pipeline's champion."""
    settings, chosen = chosen_settings(), chosen_pipeline(pipeline)
    task, config = chosen.task, chosen.config.training
    fields = list(task.messages.inputs)
    if (context is not None) != (len(fields) > 1):
        verb = "takes no" if len(fields) == 1 else "needs a"
        return fail(f"pipeline {pipeline} {verb} --context")
    texts = [text]
    if context is not None:
        try:
            texts.append(read_context(context))
        except (OSError, UnicodeDecodeError) as error:
            return fail(f"--context {context}: {error}")
    inputs = dict(zip(fields, texts, strict=True))
    for field, value in inputs.items():
        if not value.strip():
            return fail(f"the {field} is empty")
    try:
        if model is None:
            champion = chosen.store(settings).latest("champion")
            model, config = champion.path, TrainingConfig(**champion.info["config"])
            task = load_task(**champion.info["task"])
        (prediction,) = predict(model, task, [Example("", "", inputs)], config.predict_options)
    except ArtifactMissingError as error:
        return fail(f"{error} (make run PIPELINE={pipeline}), or give --model")
    except BaseModelError as error:
        return fail(str(error))
    typer.echo(prediction.text or f"(no {chosen.task.words.response})")
    best = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:3]
    if best:
        typer.echo(json.dumps({label: round(value, 3) for label, value in best}), err=True)
    return 0


def read_context(context: str) -> str:
    """The contents of the file of that name, or the text itself where there is none."""
    try:
        return Path(context).read_text(encoding="utf-8")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return context
        raise
