"""Tables and curves as Dagster metadata: Markdown for people, schemas for the catalogue."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

_WIDTH = 160


def markdown_table(rows: Iterable[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table, cells cut to a readable width."""
    import pandas as pd

    frame = pd.DataFrame(list(rows)).map(_cell)
    return dg.MetadataValue.md(frame.to_markdown(index=False))


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = " ".join(value.split()).replace("|", "\\|")
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def sample_of(rows: Path, columns: Sequence[str], count: int = 5) -> dg.MarkdownMetadataValue:
    """The first rows of a Parquet table, as Markdown."""
    import pyarrow.parquet as pq

    return markdown_table(pq.read_table(rows, columns=list(columns)).slice(0, count).to_pylist())


def schema_of(rows: Path) -> dg.TableSchemaMetadataValue:
    """The columns of a Parquet table, for Dagster's catalogue."""
    import pyarrow.parquet as pq

    columns = [
        dg.TableColumn(field.name, type=str(field.type)) for field in pq.read_schema(_part(rows))
    ]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns=columns))


def _part(rows: Path) -> Path:
    return next(rows.rglob("*.parquet")) if rows.is_dir() else rows


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str
) -> dg.MarkdownMetadataValue:
    """Curves as a picture inside Markdown.

    Args:
        series: points (x, y) by name.
        x: the label of the horizontal axis.
        y: the label of the vertical axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        axes.plot([point[0] for point in points], [point[1] for point in points], label=name)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    data = base64.b64encode(picture.getvalue()).decode()
    return dg.MetadataValue.md(f"![{y} over {x}](data:image/png;base64,{data})")
