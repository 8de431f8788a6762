"""What `qa-assets run` says at its end: scores, streamed answers, places, times; or what failed."""

from pathlib import Path

import dagster as dg
import typer
from dagster import DagsterEventType
from rich.console import Console
from rich.table import Table

from qa_assets.components.pipeline import Pipeline
from qa_assets.core.artifacts import ArtifactStore
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
    for table in (
        _scores(store, task), _streamed(store, task), _places(store), _times(instance, run_id),
    ):  # fmt: skip
        if table is not None:
            console.print()
            console.print(table)
    report = store.find("test_report")
    if report is not None:
        console.print(f"\n{(report.path / 'report.html').as_uri()}   is the report to read")
    console.print(f"\nmake ui   opens Dagster on http://127.0.0.1:{settings.ui_port}")


def _scores(store: ArtifactStore, task: Task) -> Table | None:
    report = store.find("test_report")
    if report is None:
        return None
    shown = task.metrics.shown
    table = Table(title="on the test split, percent", title_justify="left")
    for column in ("model", f"{task.words.request}s", *shown.values()):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model, scores in report.info["scores"].items():
        figures = [f"{scores[key]:.2f}" if key in scores else "" for key in shown]
        table.add_row(model, str(scores["total"]), *figures)
    return table


def _streamed(store: ArtifactStore, task: Task) -> Table | None:
    import pyarrow.parquet as pq

    words, metric = task.words, task.metrics.primary
    report = store.find(f"{words.response}_report")
    if report is None:
        return None
    info = report.info
    table = Table(
        title=f"{info[f'{words.request}s']} {words.request}s streamed, {info['completeness']:.0%} "
        f"answered, {task.metrics.shown[metric]} {info[metric]:.2f}; five of them",
        title_justify="left",
    )
    asked = next(iter(task.messages.inputs))
    for column in (asked, "gold", words.response):
        table.add_column(column, overflow="fold")
    columns = [asked, "references", "streamed"]
    rows = pq.read_table(report.path / "answers.parquet", columns=columns).to_pylist()
    answerable = [row for row in rows if row["references"]][:3]
    nothing = f"(no {words.response})"
    for row in answerable + [row for row in rows if not row["references"]][: 5 - len(answerable)]:
        gold = " / ".join(dict.fromkeys(row["references"]))
        table.add_row(row[asked], gold or nothing, row["streamed"] or nothing)
    return table


def _places(store: ArtifactStore) -> Table:
    table = Table("asset", title="artefacts", title_justify="left")
    table.add_column("newest version", overflow="fold")
    for home in sorted(store.root.iterdir()):
        artifact = store.find(home.name)
        path = (artifact.path if artifact else home).resolve()
        near = path.is_relative_to(Path.cwd())
        table.add_row(home.name, str(path.relative_to(Path.cwd()) if near else path))
    return table


def _times(instance: dg.DagsterInstance, run_id: str) -> Table:
    table = Table(title="time of each step, start-up left out", title_justify="left")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    for step in instance.get_run_step_stats(run_id):
        if step.start_time and step.end_time:
            table.add_row(step.step_key, f"{step.end_time - step.start_time:.1f}")
    return table


def show_failure(instance: dg.DagsterInstance, run_id: str | None, log: Path) -> None:
    """The errors of the steps that failed, and the checks that did not pass."""
    lines = []
    if run_id is not None:
        events = instance.get_records_for_run(
            run_id,
            of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.ASSET_CHECK_EVALUATION},
        )
        for record in events.records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            if event.event_type == DagsterEventType.STEP_FAILURE:
                lines.append(f"{event.step_key}: {_cause(event)}")
            elif not event.asset_check_evaluation_data.passed:
                check = event.asset_check_evaluation_data
                name = f"{check.asset_key.to_user_string()}.{check.check_name}"
                lines.append(f"check {name} failed: {check.description or 'see its metadata'}")
    if not lines and log.is_file():
        lines = log.read_text(errors="replace").strip().splitlines()[-15:]
    typer.secho("\n".join(["the run failed:", *lines, f"whole log: {log}"]), err=True, fg="red")


def _cause(event: dg.DagsterEvent) -> str:
    """The message of the innermost error: what the library said, without the stack."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason given"
