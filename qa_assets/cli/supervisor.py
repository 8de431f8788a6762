"""What `run` and `ui` share: DAGSTER_HOME, the broker, and that nothing is left running."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import dagster as dg
import psutil
import typer
from dagster import DagsterRunStatus
from filelock import FileLock, Timeout

from qa_assets.local import process
from qa_assets.local.broker import BrokerError, broker
from qa_assets.local.ivy import JarError
from qa_assets.local.jars import ensure_jars
from qa_assets.local.java import JavaError
from qa_assets.settings import PROJECT_ROOT, Settings

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_STOP_GRACE_S = 25.0


class SupervisorError(RuntimeError):
    """Another `make run` or `make ui` is at work under the same `home`."""


def supervised(settings: Settings, work: Callable[[], int]) -> int:
    """Do `work` with jars, DAGSTER_HOME and broker in place; returns the exit code.

    What is wrong with the machine is said in one message, with exit code 1.
    """
    try:
        with _unwound_by_sigterm(), _alone(settings):
            _prepare(settings)
            with _services(settings):
                return work()
    except (SupervisorError, BrokerError, JarError, JavaError, OSError) as error:
        typer.secho(str(error), err=True, fg="red")
        return 1


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


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold `home`: its broker, its runs and its pool slots belong to one supervisor."""
    settings.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.root / "supervisor.lock", timeout=0):
            yield
    except Timeout:
        raise SupervisorError(
            f"`make run` or `make ui` is at work under {settings.root} already: materialise in its"
            " UI, or end it first"
        ) from None


def _prepare(settings: Settings) -> None:
    """Write DAGSTER_HOME and put the environment's commands first on the PATH."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(
        Path(__file__).with_name("dagster.yaml"), settings.dagster_home / "dagster.yaml"
    )
    # torch's threads would spin while Spark needs the cores: five times slower beside it
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ |= {
        "DAGSTER_HOME": str(settings.dagster_home),
        "QA_ASSETS_HOME": str(settings.home.absolute()),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    os.chdir(PROJECT_ROOT)  # where dg looks for the project
    _end_abandoned_runs()


def _end_abandoned_runs() -> None:
    """Fail the runs that a killed supervisor left behind: they would hold their pools for ever."""
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
            instance.report_run_failed(run, "ended with the `make run` or `make ui` it belonged to")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


@contextmanager
def _services(settings: Settings) -> Iterator[None]:
    kafka = settings.kafka
    ensure_jars(settings.jars)
    with (
        broker(settings.root / "kafka", kafka.bootstrap_servers, settings.jars)
        if kafka.embedded
        else nullcontext()
    ):
        yield


@contextmanager
def child(command: Sequence[str], log: Path | None) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Dagster command for the length of the block; at its end, it and all it started end.

    Dagster gets SIGINT first, so that it can write down that its runs were interrupted.
    """
    started = process.start(command, log)
    try:
        yield started
    finally:
        family = _family(started.pid)
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=_STOP_GRACE_S if family else 0)
        for survivor in left:
            survivor.kill()
        psutil.wait_procs(left, timeout=5)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
