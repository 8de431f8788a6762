"""`qa-assets run`: the graph or a job once, through `dg launch`, with its progress line by line."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import typer
import yaml
from dagster import DagsterEventType, EventLogEntry
from dagster._utils.merger import deep_merge_dicts as merge_dicts
from rich.console import Console

from qa_assets.cli.choice import fail
from qa_assets.cli.summary import show_failure, show_summary
from qa_assets.cli.supervisor import child, supervised
from qa_assets.components.pipeline import Pipeline
from qa_assets.components.training import full_config
from qa_assets.settings import Settings

_POLL_S = 0.5
_WIDE = 300


@dataclass(frozen=True)
class Launch:
    """What to launch, see `qa-assets run --help`."""

    pipeline: str
    assets: str | None = None
    job: str | None = None
    source: str | None = None
    base: str | None = None
    train_examples: int | None = None
    eval_examples: int | None = None
    config: Path | None = None

    def command(
        self, raw: str, run_config: Path, of_job: Mapping[str, Any] | None = None
    ) -> list[str]:
        """The arguments of `dg launch`; writes a run config if there is one.

        Args:
            raw: name of the raw asset.
            run_config: where to write.
            of_job: the job's own run config, which one that is given to a launch replaces.
        """
        job = self.job or f"{self.pipeline}_all"
        what = ["--assets", self.assets] if self.assets else ["--job", job]
        config = self._run_config(raw)
        if not config:
            return what
        config = merge_dicts(of_job or {}, config)
        run_config.write_text(yaml.safe_dump(config), encoding="utf-8")
        return [*what, "--config", str(run_config)]

    def _run_config(self, raw: str) -> dict[str, Any]:
        options: dict[str, dict[str, Any]] = {
            f"{self.pipeline}__{raw}": {"source": self.source},
            f"{self.pipeline}_splits": {
                "train_examples": self.train_examples,
                "eval_examples": self.eval_examples,
            },
            f"{self.pipeline}__checkpoints": {"base": self.base},
        }
        ops = {
            op: {"config": {name: value for name, value in values.items() if value is not None}}
            for op, values in options.items()
        }
        used = {op: values for op, values in ops.items() if values["config"]}
        config: dict[str, Any] = {"ops": used} if used else {}
        if self.config is not None:
            given = yaml.safe_load(self.config.read_text(encoding="utf-8"))
            config = merge_dicts(config, given)
        return config


def run_graph(settings: Settings, pipeline: Pipeline, launch: Launch) -> int:
    """Launch assets or a job, with the checks; returns 0 only if all succeeded."""
    return supervised(settings, lambda: _launch(settings, pipeline, launch))


def _launch(settings: Settings, pipeline: Pipeline, launch: Launch) -> int:
    log = settings.logs / f"run-{datetime.now():%Y%m%d-%H%M%S}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # in a pipe or a file nothing need be wrapped
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    try:
        of_job = full_config(pipeline) if launch.job == pipeline.op("train_full") else None
        what = launch.command(pipeline.task.words.raw, log.with_suffix(".yaml"), of_job)
    except (OSError, yaml.YAMLError, ValueError) as error:
        return fail(f"--config {launch.config}: {error}")
    command = ["dg", "launch", *what]
    console.print(f"{shlex.join(command)}   log {log}", soft_wrap=True, markup=False)
    with dg.DagsterInstance.get() as instance:
        known = _newest(instance)
        try:
            with child(command, log) as launched:
                progress = Progress(instance, known, console)
                while launched.poll() is None:
                    progress.show()
                    time.sleep(_POLL_S)
                progress.show()
        except KeyboardInterrupt:
            typer.secho("interrupted: everything that was started is ended", err=True, fg="red")
            return 130
        if progress.run_id is None or launched.returncode != 0:
            show_failure(instance, progress.run_id, log)
            return 1
        show_summary(settings, pipeline, instance, progress.run_id, console)
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
            if entry.user_message.startswith("Dependencies for step "):
                return f"[yellow]–  {step} not run[/]"
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
                bad = "warns" if check.severity == dg.AssetCheckSeverity.WARN else "failed"
                mark = "[green]ok[/]" if check.passed else f"[red]{bad}[/]"
                return f"   check {check.asset_key.to_user_string()}.{check.check_name}  {mark}"
        return None


def _plain(message: str) -> str:
    return message.replace("[", r"\[")
