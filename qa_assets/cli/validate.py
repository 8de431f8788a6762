"""`qa-assets validate`: every record of one file checked with Spark, without Dagster."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from qa_assets.cli.choice import ChosenTask, chosen_settings, fail
from qa_assets.core.task import SourceError, Task
from qa_assets.data import records
from qa_assets.settings import Settings
from qa_assets.spark import create_session, stop_session

_SHOWN = 10
_WIDTH = 120


def validate(
    file: Annotated[Path, typer.Argument(help="A data file, such as SQuAD JSON or Parquet.")],
    task: ChosenTask,
    max_rejected_share: Annotated[
        float, typer.Option(min=0, max=1, help="More bad records than this share fail.")
    ] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> int:
    """Check every record of a data file; exit code 1 if too many are bad."""
    try:
        result = _check(chosen_settings(), task, file, max_rejected_share)
    except SourceError as error:
        if not as_json:
            return fail(str(error))
        result = {"file": str(file), "ok": False, "error": str(error)}
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        _show(result, task)
    return 0 if result["ok"] else 1


def _check(settings: Settings, task: Task, path: Path, limit: float) -> dict[str, Any]:
    facts = task.inspect(path)
    spark = create_session("validate", settings.spark, settings.root, brief=True)
    try:
        # Spark reads patterns and leaves out hidden files: a plain name has neither
        with tempfile.TemporaryDirectory(prefix="qa-assets-") as place:
            plain = Path(place) / f"data.{facts.format}"
            plain.symlink_to(path.absolute())
            frame = task.read(spark, [plain])
            (summary,) = records.summarise(frame).values()
            examples = records.rejected(frame).drop("file").limit(_SHOWN).collect()
    finally:
        stop_session(spark)
    return {
        "file": str(path),
        "ok": summary.rejected_share <= limit,
        "format": facts.format,
        "sha256": facts.sha256,
        **asdict(summary),
        "rejected_share": summary.rejected_share,
        "max_rejected_share": limit,
        "examples": [row.asDict() for row in examples],
    }


def _show(result: dict[str, Any], task: Task) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{result['file']}: {result['format']}, {result['records']:,} records,"
        f" {result['rejected']:,} rejected, {result['repaired']:,} with a value put right",
        markup=False,
    )
    if result["reasons"]:
        table = Table("records", "reason", "")
        for reason, count in sorted(result["reasons"].items(), key=lambda item: -item[1]):
            table.add_row(f"{count:,}", reason, task.raw.reasons[reason])
        console.print(table)
        console.print(f"the first {len(result['examples'])}:")
    for row in result["examples"]:
        line = f"  {row['place']}  {', '.join(row['reasons'])}  {row['record']}"
        console.print(line[:_WIDTH], markup=False)
    share, limit = result["rejected_share"], result["max_rejected_share"]
    console.print(
        f"{share:.2%} rejected, at most {limit:.2%} allowed (--max-rejected-share): "
        + ("fine" if result["ok"] else "too many")
    )
