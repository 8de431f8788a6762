"""`qa-assets run`: the graph or a job once, through `dg launch`, with its progress line by line."""

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import yaml
from dagster import DagsterEventType, EventLogEntry
from rich.console import Console
from rich.markup import escape
from typer import Option

from qa_assets.cli.choice import ChosenPipeline, chosen_settings, fail
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
        command = ["--assets", self.assets] if self.assets else []
        command = command or ["--job", self.job or f"{self.pipeline}_all"]
        config: dict[str, Any] = {}
        for op, name, value in (
            (f"{self.pipeline}__{raw}", "source", self.source),
            (f"{self.pipeline}_splits", "train_examples", self.train_examples),
            (f"{self.pipeline}_splits", "eval_examples", self.eval_examples),
            (f"{self.pipeline}__checkpoints", "base", self.base),
        ):
            if value is not None:
                config = merge(config, {"ops": {op: {"config": {name: value}}}})
        if self.config is not None:
            config = merge(config, yaml.safe_load(self.config.read_text(encoding="utf-8")) or {})
        if not config:
            return command
        run_config.write_text(yaml.safe_dump(merge(of_job or {}, config)), encoding="utf-8")
        return [*command, "--config", str(run_config)]


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings with the values of others, at any depth."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = merge(base[key], value) if both else value
    return merged


def run(
    pipeline: ChosenPipeline,
    assets: Annotated[
        str | None, Option(help="A Dagster asset selection; else the whole pipeline.")
    ] = None,
    job: Annotated[str | None, Option(help="A job instead, such as `quickstart_rollback`.")] = None,
    source: Annotated[
        str | None, Option(help="Where to take the data from in this run: docs/data.md.")
    ] = None,
    base: Annotated[
        str | None, Option(help="What to fine-tune in this run: hub id or directory.")
    ] = None,
    train_examples: Annotated[int | None, Option(help="Train on so many at most.")] = None,
    eval_examples: Annotated[int | None, Option(help="Evaluate on so many at most.")] = None,
    config: Annotated[
        Path | None, Option(help="YAML of Dagster run config, over the options above.")
    ] = None,
) -> int:
    """Materialise a pipeline once, with the broker it needs, and show what came of it."""
    settings, name = chosen_settings(), pipeline.name
    launch = Launch(name, assets, job, source, base, train_examples, eval_examples, config)
    with supervised(settings):
        code = _launch(settings, pipeline, launch)
    return code


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
        progress = Progress(instance, console)
        try:
            with child(command, log) as launched:
                while launched.poll() is None:
                    progress.show()
                    time.sleep(_POLL_S)
                progress.show()
        except KeyboardInterrupt:
            return fail("interrupted: everything that was started is ended", 130)
        if progress.run_id is None or launched.returncode != 0:
            show_failure(instance, progress.run_id, log)
            return 1
        show_summary(settings, pipeline, instance, progress.run_id, console)
    return 0


def _newest(instance: dg.DagsterInstance) -> str | None:
    return next((run.run_id for run in instance.get_runs(limit=1)), None)


class Progress:
    """Prints what happens in the next run, each event once."""

    def __init__(self, instance: dg.DagsterInstance, console: Console) -> None:
        self.run_id: str | None = None
        self._instance, self._console = instance, console
        self._before, self._begun = _newest(instance), time.time()
        self._cursor: str | None = None
        self._started: dict[str, float] = {}

    def show(self) -> None:
        """Print the events since the last call."""
        if self.run_id is None:
            newest = _newest(self._instance)
            if newest is None or newest == self._before:
                return
            self.run_id = newest
        more = True
        while more:
            page = self._instance.get_records_for_run(self.run_id, cursor=self._cursor, limit=500)
            self._cursor, more = page.cursor, page.has_more
            for entry in (record.event_log_entry for record in page.records):
                if line := self._line(entry):
                    minutes, seconds = divmod(int(entry.timestamp - self._begun), 60)
                    clock = f"[dim]{minutes:2d}:{seconds:02d}[/]"
                    self._console.print(f"{clock}  {line}", soft_wrap=True)

    def _line(self, entry: EventLogEntry) -> str | None:
        step = entry.step_key or ""
        event = entry.dagster_event
        if event is None:
            if entry.user_message.startswith("Dependencies for step "):
                return f"[yellow]–  {step} not run[/]"
            return f"   {step}: {escape(entry.user_message)}" if step else None
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
