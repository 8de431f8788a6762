"""The settings, pipeline or task that a command names, or one clear message and exit code 2."""

from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

from qa_assets.components.pipeline import Pipeline
from qa_assets.core.task import Task, load_task
from qa_assets.settings import Settings, SettingsError, load_settings


def chosen_settings() -> Settings:
    """The settings of the environment."""
    try:
        return load_settings()
    except SettingsError as error:
        _refuse(str(error))


def chosen_pipeline(name: str) -> Pipeline:
    """The pipeline of that name."""
    from qa_assets.definitions import pipelines

    configs = pipelines()
    if name not in configs:
        _refuse(f"there is no pipeline {name!r}: there are {', '.join(configs)}")
    return Pipeline(name, configs[name])


def chosen_task(name: str) -> Task:
    """The task of that name, with its default settings."""
    try:
        return load_task(name, {})
    except LookupError as error:
        _refuse(str(error))


def show_pipelines() -> None:
    """Print a table of the pipelines."""
    from qa_assets.definitions import pipelines

    table = Table("pipeline", "task", "data", "base model", "engine", "topic")
    for name, config in pipelines().items():
        topic = Pipeline(name, config).topics.requests
        engine = config.serving.engine
        table.add_row(name, config.task.name, config.data.source, config.model.base, engine, topic)
    Console().print(table)


def fail(message: str) -> int:
    """Say what is wrong on stderr; returns exit code 1."""
    typer.secho(message, err=True, fg="red")
    return 1


def _refuse(message: str) -> NoReturn:
    typer.secho(message, err=True, fg="red")
    raise typer.Exit(2)
