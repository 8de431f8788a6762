"""`qa-assets validate`: every record of one file checked with Spark, without Dagster."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from qa_assets.settings import Settings
from qa_assets.tasks.question_answering.formats import FileFacts, SourceError, inspect

_SHOWN = 10
_WIDTH = 120


def validate(settings: Settings, path: Path, as_json: bool) -> int:
    """Print what is wrong with the file; returns 1 over the limit, or if it is no data file."""
    try:
        facts = inspect(path)
    except SourceError as error:
        if as_json:
            typer.echo(json.dumps({"file": str(path), "ok": False, "error": str(error)}))
        else:
            typer.secho(str(error), err=True, fg="red")
        return 1
    found = _check(settings, path, facts)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    return 0 if found["ok"] else 1


def _check(settings: Settings, path: Path, facts: FileFacts) -> dict[str, Any]:
    from qa_assets.spark import create_session, stop_session
    from qa_assets.tasks.question_answering import validation

    spark = create_session("validate", settings, brief=True)
    try:
        # Spark reads patterns and leaves out hidden files: a plain name has neither
        with tempfile.TemporaryDirectory(prefix="qa-assets-") as place:
            plain = Path(place) / f"data.{facts.format}"
            plain.symlink_to(path.absolute())
            records = validation.read_validated(spark, [plain], settings.data)
            (summary,) = validation.summarise(records).values()
            examples = validation.rejected(records).drop("file").limit(_SHOWN).collect()
    finally:
        stop_session(spark)
    limit = settings.data.max_rejected_share
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


def _show(found: dict[str, Any]) -> None:
    from qa_assets.tasks.question_answering.validation import REASONS

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found['file']}: {found['format']}, {found['records']:,} records,"
        f" {found['rejected']:,} rejected, {found['repaired']:,} with an offset put right",
        markup=False,
    )
    if found["reasons"]:
        table = Table("records", "reason", "")
        for reason, count in sorted(found["reasons"].items(), key=lambda item: -item[1]):
            table.add_row(f"{count:,}", reason, REASONS[reason])
        console.print(table)
        console.print(f"the first {len(found['examples'])}:")
    for row in found["examples"]:
        line = f"  {row['place']}  {', '.join(row['reasons'])}  {row['record']}"
        console.print(line[:_WIDTH], markup=False)
    share, limit = found["rejected_share"], found["max_rejected_share"]
    console.print(
        f"{share:.2%} rejected, at most {limit:.2%} allowed (QA_ASSETS_DATA_MAX_REJECTED_SHARE): "
        + ("fine" if found["ok"] else "too many")
    )
