"""What `qa-assets run` says at its end: scores, streamed answers, places, times; or what failed."""

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
from dagster import DagsterEventType
from rich.console import Console
from rich.table import Column, Table

from qa_assets.cli.choice import fail
from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.core.task import Task
from qa_assets.settings import Settings


def show_summary(
    settings: Settings,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    run_id: str,
    console: Console,
) -> None:
    """Tables of what is newest in the pipeline's artefact store, and of the run's times."""
    store, task = pipeline.store(settings), pipeline.task
    report, responses = store.find("test_report"), store.find(f"{task.words.response}_report")
    tables = [_scores(report, task)] if report else []
    tables += [_streamed(responses, task)] if responses else []
    for table in (*tables, _places(store), _times(instance, run_id)):
        console.print()
        console.print(table)
    if report is not None:
        console.print(f"\n{(report.path / 'report.html').as_uri()}   is the report to read")
    console.print(f"\nmake ui   opens Dagster on http://127.0.0.1:{settings.ui_port}")


def _scores(report: Artifact, task: Task) -> Table:
    shown = task.metrics.shown
    columns = [f"{task.words.request}s", *shown.values()]
    numbers = [Column(name, justify="right") for name in columns]
    table = Table("model", *numbers, title="on the test split, percent", title_justify="left")
    for model, scores in report.info["scores"].items():
        figures = [f"{scores[key]:.2f}" if key in scores else "" for key in shown]
        table.add_row(model, str(scores["total"]), *figures)
    return table


def _streamed(report: Artifact, task: Task) -> Table:
    words, metric = task.words, task.metrics.primary
    info, asked = report.info, next(iter(task.messages.inputs))
    table = Table(
        *(Column(name, overflow="fold") for name in (asked, "gold", words.response)),
        title=f"{info[f'{words.request}s']} {words.request}s streamed, {info['completeness']:.0%} "
        f"answered, {task.metrics.shown[metric]} {info[metric]:.2f}; five of them",
        title_justify="left",
    )
    columns = [asked, "references", "streamed"]
    rows = pq.read_table(report.path / "answers.parquet", columns=columns).to_pylist()
    answerable = [row for row in rows if row["references"]][:3]
    nothing = f"(no {words.response})"
    for row in answerable + [row for row in rows if not row["references"]][: 5 - len(answerable)]:
        gold = " / ".join(dict.fromkeys(row["references"]))
        table.add_row(row[asked], gold or nothing, row["streamed"] or nothing)
    return table


def _places(store: ArtifactStore) -> Table:
    version = Column("newest version", overflow="fold")
    table = Table("asset", version, title="artefacts", title_justify="left")
    for home in sorted(store.root.iterdir()):
        artifact = store.find(home.name)
        path = (artifact.path if artifact else home).resolve()
        table.add_row(home.name, str(path).removeprefix(f"{Path.cwd()}/"))
    return table


def _times(instance: dg.DagsterInstance, run_id: str) -> Table:
    seconds = Column("seconds", justify="right")
    table = Table(
        "step", seconds, title="time of each step, start-up left out", title_justify="left"
    )
    for step in instance.get_run_step_stats(run_id):
        if step.start_time and step.end_time:
            table.add_row(step.step_key, f"{step.end_time - step.start_time:.1f}")
    return table


def show_failure(instance: dg.DagsterInstance, run_id: str | None, log: Path) -> None:
    """The errors of the steps that failed, and the checks that did not pass."""
    lines = []
    if run_id is not None:
        types = {DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION}
        for record in instance.get_records_for_run(run_id, of_type=types).records:
            event = record.event_log_entry.get_dagster_event()
            if event.event_type == DagsterEventType.STEP_FAILURE:
                lines.append(f"{event.step_key}: {_cause(event)}")
            elif not (check := event.asset_check_evaluation_data).passed:
                name = f"{check.asset_key.to_user_string()}.{check.check_name}"
                lines.append(f"check {name} failed: {check.description or 'see its metadata'}")
    if not lines and log.is_file():
        lines = log.read_text(errors="replace").strip().splitlines()[-15:]
    fail("\n".join(["the run failed:", *lines, f"whole log: {log}"]))


def _cause(event: dg.DagsterEvent) -> str:
    """The message of the innermost error: what the library said, without the stack."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason given"
