"""What `run` and `ui` share: DAGSTER_HOME, the broker, and that nothing is left running."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import dagster as dg
import psutil
import typer
from filelock import FileLock, Timeout

from qa_assets.cli.choice import fail
from qa_assets.components.sensors import UNDER_WAY
from qa_assets.local import process
from qa_assets.local.broker import BrokerError, broker
from qa_assets.local.ivy import JarError
from qa_assets.local.jars import ensure_jars
from qa_assets.local.java import JavaError
from qa_assets.settings import PROJECT_ROOT, Settings
from qa_assets.training.cpu import THREADS

_STOP_GRACE_S = 25.0


@contextmanager
def supervised(settings: Settings) -> Iterator[None]:
    """Have jars, DAGSTER_HOME and broker in place for the length of the block.

    `home` is locked: its broker, its runs and its pool slots belong to one supervisor. What is
    wrong with the machine is said in one message, with exit code 1.
    """
    kafka, lock = settings.kafka, FileLock(settings.root / "supervisor.lock", timeout=0)
    try:
        with _unwound_by_sigterm(), lock:
            _prepare(settings)
            ensure_jars(settings.jars)
            with (
                broker(settings.root / "kafka", kafka.bootstrap_servers, settings.jars)
                if kafka.embedded
                else nullcontext()
            ):
                yield
    except Timeout:
        message = f"`make run` or `make ui` is at work under {settings.root} already: materialise"
        raise typer.Exit(fail(f"{message} in its UI, or end it first")) from None
    except (BrokerError, JarError, JavaError, OSError) as error:
        raise typer.Exit(fail(str(error))) from None


@contextmanager
def _unwound_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end what was started, as Ctrl-C does; a second one does not interrupt that."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare(settings: Settings) -> None:
    """Write DAGSTER_HOME, put the environment's commands first on the PATH, end abandoned runs."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("dagster.yaml")
    shutil.copyfile(source, settings.dagster_home / source.name)
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    os.environ |= {
        "DAGSTER_HOME": str(settings.dagster_home),
        "QA_ASSETS_HOME": str(settings.home.absolute()),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    os.chdir(PROJECT_ROOT)  # where dg looks for the project
    with dg.DagsterInstance.get() as instance:
        # of a supervisor that was killed: they would hold their pools for ever
        for run in instance.get_runs(filters=UNDER_WAY):
            instance.report_run_failed(run, "ended with the `make run` or `make ui` it belonged to")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


@contextmanager
def child(command: Sequence[str], log: Path | None) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Dagster command for the length of the block; at its end, it and all it started end.

    Dagster gets SIGINT first, so that it can write down that its runs were interrupted.
    """
    started = process.start(command, log)
    try:
        yield started
    finally:
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(started.pid)
            family = [parent, *parent.children(recursive=True)]
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=_STOP_GRACE_S)
        for survivor in left:
            survivor.kill()
        psutil.wait_procs(left, timeout=5)
