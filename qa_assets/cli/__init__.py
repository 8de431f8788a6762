"""`qa-assets`, the console command: conveniences around Dagster, which does the making."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from qa_assets.settings import Settings, SettingsError, load_settings

app = typer.Typer(
    help="Make, look at and ask a question-answering model whose every artefact is a Dagster asset."
    " Settings come from QA_ASSETS_* variables; the profile from QA_ASSETS_PROFILE.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Profile = Annotated[
    str | None, typer.Option(help="quickstart, squad or cluster; else QA_ASSETS_PROFILE.")
]


def _settings(profile: str | None) -> Settings:
    """The settings, or one clear message and exit code 2."""
    logging.basicConfig(format="%(message)s")
    try:
        return load_settings(**({"profile": profile} if profile else {}))
    except SettingsError as error:
        typer.secho(str(error), err=True, fg="red")
        raise typer.Exit(2) from None


@app.command()
def run(
    profile: _Profile = None,
    assets: Annotated[str, typer.Option(help="Dagster asset selection to materialise.")] = "*",
    job: Annotated[
        str | None, typer.Option(help="A job instead, such as `rollback`: the earlier champion.")
    ] = None,
) -> None:
    """Materialise the graph once, with the broker it needs, and show what came of it."""
    from qa_assets.cli.run import run_graph

    raise typer.Exit(run_graph(_settings(profile), assets, job))


@app.command()
def ui(profile: _Profile = None) -> None:
    """Open Dagster's UI, with the broker and the sensor on, until Ctrl-C."""
    from qa_assets.cli.ui import serve

    raise typer.Exit(serve(_settings(profile)))


@app.command()
def stream(profile: _Profile = None) -> None:
    """Answer questions on the topic as they come, until Ctrl-C or SIGTERM."""
    from qa_assets.cli.stream import stream as answer

    raise typer.Exit(answer(_settings(profile)))


@app.command()
def doctor(profile: _Profile = None) -> None:
    """Say what of this machine is in order for the profile, and what is not."""
    from qa_assets.cli.doctor import examine

    raise typer.Exit(examine(_settings(profile)))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    context: Annotated[
        str, typer.Option(help="A file, or the text itself, in which to look for the answer.")
    ],
    profile: _Profile = None,
    model: Annotated[
        Path | None, typer.Option(help="A Hugging Face directory; else the champion.")
    ] = None,
) -> None:
    """Answer a question from a context, with the champion."""
    from qa_assets.cli.ask import answer

    raise typer.Exit(answer(_settings(profile), question, context, model))


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Questions in the format of SQuAD v1.1 or v2.0.")],
    predictions: Annotated[
        Path | None, typer.Option(help='A JSON object from question id to text, "" to abstain.')
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face directory.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write report.html and report.json to this directory.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, in full precision.")
    ] = False,
    profile: _Profile = None,
) -> None:
    """Score a model or predictions on a file of questions, by the official metric."""
    from qa_assets.cli.evaluate import evaluate as score

    raise typer.Exit(score(_settings(profile), data, predictions, model, report, as_json))


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="SQuAD v1.1 or v2.0 JSON, JSON Lines or Parquet.")],
    profile: _Profile = None,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check every record of a data file; exit code 1 if too many are bad."""
    from qa_assets.cli.validate import validate as check

    raise typer.Exit(check(_settings(profile), file, json))
