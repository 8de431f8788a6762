"""`qa-assets stream`: every request answered as it comes, until Ctrl-C."""

import signal
import threading

import typer

from qa_assets.cli.choice import ChosenPipeline, chosen_settings, fail
from qa_assets.cli.supervisor import supervised
from qa_assets.core.artifacts import ArtifactMissingError
from qa_assets.streaming.worker import keep_running, worker_command


def stream(pipeline: ChosenPipeline) -> int:
    """Answer requests on a pipeline's topic as they come, until Ctrl-C or SIGTERM."""
    settings, topics = chosen_settings(), pipeline.topics
    try:
        pipeline.store(settings).latest(pipeline.config.serving.model)
    except ArtifactMissingError as error:
        return fail(f"{error} (make run PIPELINE={pipeline.name})")
    with supervised(settings):
        typer.echo(
            f"{pipeline.requests} on {topics.requests!r} of {settings.kafka.bootstrap_servers} are "
            f"answered on {topics.responses!r}; Ctrl-C or SIGTERM ends it after the batch under way"
        )
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        code = keep_running(worker_command(pipeline.name), stop)
    return code
