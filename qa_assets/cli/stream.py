"""`qa-assets stream`: every question answered as it comes, until Ctrl-C."""

import signal
import threading

import typer

from qa_assets.always_on import keep_answering
from qa_assets.cli.supervisor import supervised
from qa_assets.core.artifacts import ArtifactMissingError, ArtifactStore
from qa_assets.settings import Settings


def stream(settings: Settings) -> int:
    """Answer until it is interrupted; returns the exit code."""
    try:
        ArtifactStore(settings.artifacts).latest(settings.serving.model)
    except ArtifactMissingError as error:
        typer.secho(f"{error} (make run PROFILE={settings.profile})", err=True, fg="red")
        return 1
    return supervised(settings, lambda: _stream(settings))


def _stream(settings: Settings) -> int:
    kafka = settings.kafka
    typer.echo(
        f"questions on {kafka.questions_topic!r} of {kafka.bootstrap_servers} are answered on "
        f"{kafka.answers_topic!r}; Ctrl-C or SIGTERM ends it after the batch under way"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return keep_answering(stop)
