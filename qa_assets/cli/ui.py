"""`qa-assets ui`: Dagster's UI with its daemon, beside broker and reports, until Ctrl-C."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from qa_assets.cli.doctor import listens
from qa_assets.cli.supervisor import child, supervised
from qa_assets.settings import Settings


def serve(settings: Settings) -> int:
    """Serve the UI until it is interrupted; returns the exit code."""
    if listens("127.0.0.1", settings.ui_port):
        message = f"port {settings.ui_port} is in use: set QA_ASSETS_UI_PORT to another"
        typer.secho(message, err=True, fg="red")
        return 1
    return supervised(settings, lambda: _serve(settings))


def _serve(settings: Settings) -> int:
    typer.echo(
        f"Dagster   http://127.0.0.1:{settings.ui_port}\n"
        f"Kafka     {settings.kafka.bootstrap_servers}, topics: qa-assets pipelines\n"
        f"reports   http://127.0.0.1:{settings.report_port}, linked from test_report\n"
        f"MLflow    {_mlflow(settings)}\n"
        "Ctrl-C ends everything"
    )
    from qa_assets.definitions import pipelines

    command = ["dg", "dev", "--host", "127.0.0.1", "--port", str(settings.ui_port)]
    with (
        contextlib.suppress(KeyboardInterrupt),
        report_server(settings, pipelines()),
        child(command, log=None) as dagster,
    ):
        return dagster.wait()
    return 0


def _mlflow(settings: Settings) -> str:
    """How to look at the trials."""
    if settings.mlflow_uri is not None:
        return settings.mlflow_uri
    command = os.path.relpath(Path(sys.executable).with_name("mlflow"))
    return f"{command} ui --backend-store-uri {settings.tracking_uri} --port 5000"


def report_server(
    settings: Settings, pipelines: Iterable[str]
) -> "contextlib.AbstractContextManager[subprocess.Popen[bytes]]":
    """Serve the versions of each pipeline's `test_report` for the length of a block.

    A browser opens no file from a page of the UI. Where the port is taken, only that link fails.
    """
    reports = settings.root / "reports"  # of artefacts, nothing but reports is to be seen
    reports.mkdir(parents=True, exist_ok=True)
    for pipeline in pipelines:
        link = reports / pipeline
        link.unlink(missing_ok=True)
        link.symlink_to(settings.artifacts / pipeline / "test_report")
    command = [sys.executable, "-m", "http.server", str(settings.report_port)]
    command += ["--bind", "127.0.0.1", "--directory", str(reports)]
    settings.logs.mkdir(parents=True, exist_ok=True)
    return child(command, settings.logs / "reports.log")
