"""`qa-assets ask`: one question to the champion."""

import errno
from pathlib import Path

import typer

from qa_assets.core.artifacts import ArtifactMissingError, ArtifactStore
from qa_assets.settings import Settings
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.training.config import TrainingConfig


def answer(settings: Settings, question: str, context: str, model: Path | None) -> int:
    """Print the answer, or that there is none; returns the exit code."""
    if not question.strip():
        return _fail("the question is empty")
    try:
        text = read_context(context)
    except (OSError, UnicodeDecodeError) as error:
        return _fail(f"--context {context}: {error}")
    if not text.strip():
        return _fail("--context holds no text")
    config = settings.training
    if model is None:
        try:
            champion = ArtifactStore(settings.artifacts).latest("champion")
        except ArtifactMissingError as error:
            return _fail(f"{error} (make run PROFILE={settings.profile}), or give --model")
        model, config = champion.path, TrainingConfig(**champion.info["config"])

    from qa_assets.models.base_model import BaseModelError
    from qa_assets.training.selection import answers

    try:
        found = answers(model, [source_text(question, text)], config, settings.data.no_answer)
    except BaseModelError as error:
        return _fail(str(error))
    typer.echo(found[0] or "(no answer in this context)")
    return 0


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


def _fail(message: str) -> int:
    typer.secho(message, err=True, fg="red")
    return 1
