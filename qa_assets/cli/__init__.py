"""`qa-assets`, the console command: conveniences around Dagster, which does the making."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from qa_assets.cli.choice import chosen_pipeline, chosen_settings, chosen_task

app = typer.Typer(
    help="Make, look at and ask text models whose every artefact is a Dagster asset. What a"
    " pipeline makes is in qa_assets/defs/<pipeline>/defs.yaml; where it runs is in QA_ASSETS_*"
    " variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
logging.basicConfig(format="%(message)s")

_Pipeline = Annotated[str, typer.Argument(help="A folder of qa_assets/defs.")]
_Task = Annotated[str, typer.Option("--task", help="A folder of qa_assets/tasks.")]
_QUICKSTART, _QUESTION_ANSWERING = "quickstart", "question_answering"


@app.command()
def run(
    pipeline: _Pipeline = _QUICKSTART,
    assets: Annotated[
        str | None, typer.Option(help="A Dagster asset selection; else the whole pipeline.")
    ] = None,
    job: Annotated[
        str | None, typer.Option(help="A job instead, such as `quickstart_rollback`.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Where to take the data from in this run: docs/data.md.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="What to fine-tune in this run: hub id or directory.")
    ] = None,
    train_examples: Annotated[int | None, typer.Option(help="Train on so many at most.")] = None,
    eval_examples: Annotated[int | None, typer.Option(help="Evaluate on so many at most.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML of Dagster run config, over the options above.")
    ] = None,
) -> None:
    """Materialise a pipeline once, with the broker it needs, and show what came of it."""
    from qa_assets.cli.run import Launch, run_graph

    launch = Launch(pipeline, assets, job, source, base, train_examples, eval_examples, config)
    raise typer.Exit(run_graph(chosen_settings(), chosen_pipeline(pipeline), launch))


@app.command()
def pipelines() -> None:
    """List the pipelines."""
    from qa_assets.cli.choice import show_pipelines

    show_pipelines()


@app.command()
def ui() -> None:
    """Open Dagster's UI with all pipelines, the broker and the sensors on, until Ctrl-C."""
    from qa_assets.cli.ui import serve

    raise typer.Exit(serve(chosen_settings()))


@app.command()
def stream(pipeline: _Pipeline = _QUICKSTART) -> None:
    """Answer requests on a pipeline's topic as they come, until Ctrl-C or SIGTERM."""
    from qa_assets.cli.stream import stream as answer

    raise typer.Exit(answer(chosen_settings(), chosen_pipeline(pipeline)))


@app.command()
def doctor(pipeline: _Pipeline = _QUICKSTART) -> None:
    """Say what of this machine is in order for a pipeline, and what is not."""
    from qa_assets.cli.doctor import examine

    raise typer.Exit(examine(chosen_settings(), chosen_pipeline(pipeline)))


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help="The question, or the text to classify.")],
    context: Annotated[
        str | None,
        typer.Option(help="A file, or the text itself, in which to look for the answer."),
    ] = None,
    pipeline: Annotated[str, typer.Option(help="Whose champion to ask.")] = _QUICKSTART,
    model: Annotated[
        Path | None, typer.Option(help="A Hugging Face directory; else the champion.")
    ] = None,
) -> None:
    """Ask a pipeline's champion."""
    from qa_assets.cli.ask import answer

    raise typer.Exit(answer(chosen_settings(), chosen_pipeline(pipeline), text, context, model))


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Examples, such as SQuAD v1.1 or v2.0 JSON.")],
    predictions: Annotated[
        Path | None, typer.Option(help='A JSON object from id to text, "" to abstain.')
    ] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face directory.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write report.html and report.json to this directory.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, in full precision.")
    ] = False,
    task: _Task = _QUESTION_ANSWERING,
) -> None:
    """Score a model or predictions on a file of examples, by the official metric."""
    from qa_assets.cli.evaluate import evaluate as score

    raise typer.Exit(score(chosen_task(task), data, predictions, model, report, as_json))


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(help="A data file, such as SQuAD JSON or Parquet.")],
    task: _Task = _QUESTION_ANSWERING,
    max_rejected_share: Annotated[
        float, typer.Option(min=0, max=1, help="More bad records than this share fail.")
    ] = 0.01,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check every record of a data file; exit code 1 if too many are bad."""
    from qa_assets.cli.validate import validate as check

    raise typer.Exit(check(chosen_settings(), chosen_task(task), file, max_rejected_share, json))


@app.command()
def schema(pipeline: _Pipeline = _QUICKSTART) -> None:
    """Print the JSON Schemas of a pipeline's requests and responses."""
    import json

    from qa_assets.streaming.messages import MessageSchemas

    schemas = MessageSchemas(chosen_pipeline(pipeline).task)
    typer.echo(json.dumps({"request": schemas.request, "response": schemas.response}, indent=2))
