"""`qa-assets`, the console command: conveniences around Dagster, which does the making."""

import json
import logging

import typer

from qa_assets.cli import ask, doctor, evaluate, run, stream, ui, validate
from qa_assets.cli.choice import ChosenPipeline, pipelines
from qa_assets.streaming.messages import MessageSchemas


def schema(pipeline: ChosenPipeline) -> None:
    """Print the JSON Schemas of a pipeline's requests and responses."""
    schemas = MessageSchemas(pipeline.task)
    typer.echo(json.dumps({"request": schemas.request, "response": schemas.response}, indent=2))


def _exit(code: int | None) -> None:
    raise typer.Exit(code or 0)


app = typer.Typer(
    help="Make, look at and ask text models whose every artefact is a Dagster asset. What a"
    " pipeline makes is in qa_assets/defs/<pipeline>/defs.yaml; where it runs is in QA_ASSETS_*"
    " variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    result_callback=_exit,  # commands return their exit code
)
for command in (
    run.run, pipelines, ui.ui, stream.stream, doctor.doctor, ask.ask, evaluate.evaluate,
    validate.validate, schema,
):  # fmt: skip
    app.command()(command)
logging.basicConfig(format="%(message)s")
