"""`qa-assets ui`: Dagster's UI with its daemon, beside broker and reports, until Ctrl-C."""

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import typer

from qa_assets.cli.choice import chosen_settings, fail
from qa_assets.cli.doctor import listens
from qa_assets.cli.supervisor import child, supervised
from qa_assets.definitions import pipelines
from qa_assets.settings import Settings


def ui() -> int:
    """Open Dagster's UI with all pipelines, the broker and the sensors on, until Ctrl-C."""
    settings = chosen_settings()
    if listens("127.0.0.1", settings.ui_port):
        return fail(f"port {settings.ui_port} is in use: set QA_ASSETS_UI_PORT to another")
    with supervised(settings), suppress(KeyboardInterrupt):
        mlflow = os.path.relpath(Path(sys.executable).with_name("mlflow"))
        trials = f"{mlflow} ui --backend-store-uri {settings.tracking_uri} --port 5000"
        typer.echo(
            f"Dagster   http://127.0.0.1:{settings.ui_port}\n"
            f"Kafka     {settings.kafka.bootstrap_servers}, topics: qa-assets pipelines\n"
            f"reports   http://127.0.0.1:{settings.report_port}, linked from test_report\n"
            f"MLflow    {settings.mlflow_uri or trials}\n"
            "Ctrl-C ends everything"
        )
        command = ["dg", "dev", "--host", "127.0.0.1", "--port", str(settings.ui_port)]
        with report_server(settings, pipelines()), child(command, log=None) as dagster:
            return dagster.wait()
    return 0


def report_server(
    settings: Settings, pipelines: Iterable[str]
) -> "AbstractContextManager[subprocess.Popen[bytes]]":
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
