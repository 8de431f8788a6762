"""`qa-assets stream`: every request answered as it comes, until Ctrl-C."""

import signal
import threading

import typer

from qa_assets.cli.choice import fail
from qa_assets.cli.supervisor import supervised
from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import ArtifactMissingError
from qa_assets.settings import Settings


def stream(settings: Settings, pipeline: Pipeline) -> int:
    """Answer until it is interrupted; returns the exit code."""
    try:
        pipeline.store(settings).latest(pipeline.serving_asset)
    except ArtifactMissingError as error:
        return fail(f"{error} (make run PIPELINE={pipeline.name})")
    return supervised(settings, lambda: _stream(settings, pipeline))


def _stream(settings: Settings, pipeline: Pipeline) -> int:
    from qa_assets.streaming.worker import keep_running, worker_command

    topics, words = pipeline.topics, pipeline.task.words
    typer.echo(
        f"{words.request}s on {topics.requests!r} of {settings.kafka.bootstrap_servers} are "
        f"answered on {topics.responses!r}; Ctrl-C or SIGTERM ends it after the batch under way"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return keep_running(worker_command(pipeline.name), stop)
