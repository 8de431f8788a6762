"""The settings, pipeline or task that a command names, or one clear message and exit code 2."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from qa_assets import definitions
from qa_assets.components.pipeline import Pipeline
from qa_assets.core.task import Task, load_task
from qa_assets.settings import Settings, SettingsError, load_settings

QUICKSTART = "quickstart"


def chosen_settings() -> Settings:
    """The settings of the environment."""
    try:
        return load_settings()
    except SettingsError as error:
        raise typer.Exit(fail(str(error), 2)) from None


def chosen_pipeline(name: str) -> Pipeline:
    """The pipeline of that name."""
    configs = definitions.pipelines()
    if name not in configs:
        message = f"there is no pipeline {name!r}: there are {', '.join(configs)}"
        raise typer.Exit(fail(message, 2))
    return Pipeline(name, configs[name])


def chosen_task(name: str) -> Task:
    """The task of that name, with its default settings."""
    try:
        return load_task(name, {})
    except LookupError as error:
        raise typer.Exit(fail(str(error), 2)) from None


ChosenPipeline = Annotated[
    Pipeline,
    typer.Argument(
        parser=chosen_pipeline,
        default_factory=lambda: QUICKSTART,
        show_default=QUICKSTART,
        metavar="[PIPELINE]",
        help="A folder of qa_assets/defs.",
    ),
]
ChosenTask = Annotated[
    Task,
    typer.Option(
        "--task",
        parser=chosen_task,
        default_factory=lambda: "question_answering",
        show_default="question_answering",
        metavar="TEXT",
        help="A folder of qa_assets/tasks.",
    ),
]


def pipelines() -> None:
    """List the pipelines."""
    table = Table("pipeline", "task", "data", "base model", "engine", "topic")
    for name, config in definitions.pipelines().items():
        topic = Pipeline(name, config).topics.requests
        engine = config.serving.engine
        table.add_row(name, config.task.name, config.data.source, config.model.base, engine, topic)
    Console().print(table)


def fail(message: str, code: int = 1) -> int:
    """Say what is wrong on stderr; returns the exit code."""
    typer.secho(message, err=True, fg="red")
    return code
