"""`qa-assets run`: the graph or a job once, through `dg launch`, with its progress line by line."""

import sys
import time
from collections.abc import Sequence
from datetime import datetime

import dagster as dg
import typer
from dagster import DagsterEventType, EventLogEntry
from rich.console import Console

from qa_assets.cli.summary import show_failure, show_summary
from qa_assets.cli.supervisor import child, supervised
from qa_assets.settings import Settings

_POLL_S = 0.5
_WIDE = 300


def run_graph(settings: Settings, assets: str, job: str | None = None) -> int:
    """Materialise `assets`, or launch `job`, with the checks; returns 0 only if all succeeded."""
    what = ["--job", job] if job else ["--assets", assets]
    return supervised(settings, lambda: _launch(settings, what))


def _launch(settings: Settings, what: list[str]) -> int:
    log = settings.root / "logs" / f"run-{datetime.now():%Y%m%d-%H%M%S}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # in a pipe or a file nothing need be wrapped
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    command = ["dg", "launch", *what]
    told = f"{' '.join(command)}   profile {settings.profile}, log {log}"
    console.print(told, soft_wrap=True)
    with dg.DagsterInstance.get() as instance:
        known = _newest(instance)
        try:
            with child(command, log) as launch:
                progress = Progress(instance, known, console)
                while launch.poll() is None:
                    progress.show()
                    time.sleep(_POLL_S)
                progress.show()
        except KeyboardInterrupt:
            typer.secho("interrupted: everything that was started is ended", err=True, fg="red")
            return 130
        if progress.run_id is None or launch.returncode != 0:
            show_failure(instance, progress.run_id, log)
            return 1
        show_summary(settings, instance, progress.run_id, console)
    return 0


def _newest(instance: dg.DagsterInstance) -> str | None:
    runs: Sequence[dg.DagsterRun] = instance.get_runs(limit=1)
    return runs[0].run_id if runs else None


class Progress:
    """Prints what happens in the run that starts after `known`, each event once."""

    def __init__(self, instance: dg.DagsterInstance, known: str | None, console: Console) -> None:
        self.run_id: str | None = None
        self._instance, self._known, self._console = instance, known, console
        self._cursor: str | None = None
        self._started: dict[str, float] = {}
        self._begun = time.time()

    def show(self) -> None:
        """Print the events since the last call."""
        if self.run_id is None:
            newest = _newest(self._instance)
            if newest is None or newest == self._known:
                return
            self.run_id = newest
        more = True
        while more:
            page = self._instance.get_records_for_run(self.run_id, cursor=self._cursor, limit=500)
            self._cursor, more = page.cursor, page.has_more
            for record in page.records:
                self._print(record.event_log_entry)

    def _print(self, entry: EventLogEntry) -> None:
        line = self._line(entry)
        if line is not None:
            clock = int(entry.timestamp - self._begun)
            self._console.print(
                f"[dim]{clock // 60:2d}:{clock % 60:02d}[/]  {line}", soft_wrap=True
            )

    def _line(self, entry: EventLogEntry) -> str | None:
        step = entry.step_key or ""
        event = entry.dagster_event
        if event is None:
            return f"   {step}: {_plain(entry.user_message)}" if step else None
        match event.event_type:
            case DagsterEventType.STEP_START:
                self._started[step] = entry.timestamp
                return f"▸  {step}"
            case DagsterEventType.STEP_SUCCESS:
                took = entry.timestamp - self._started.get(step, entry.timestamp)
                return f"[green]✓[/]  {step}  [dim]{took:.1f} s[/]"
            case DagsterEventType.STEP_FAILURE:
                return f"[red]✗  {step}[/]"
            case DagsterEventType.STEP_SKIPPED:
                return f"[yellow]–  {step} skipped[/]"
            case DagsterEventType.ASSET_CHECK_EVALUATION:
                check = event.asset_check_evaluation_data
                mark = "[green]ok[/]" if check.passed else "[red]failed[/]"
                return f"   check {check.asset_key.to_user_string()}.{check.check_name}  {mark}"
        return None


def _plain(message: str) -> str:
    return message.replace("[", r"\[")
