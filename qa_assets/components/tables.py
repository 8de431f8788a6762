"""Tables and curves as Dagster metadata: Markdown for people, schemas for the catalogue."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def sample_of(rows: Path, columns: Iterable[str]) -> dg.MarkdownMetadataValue:
    """The first rows of a Parquet table, as Markdown."""
    import pyarrow.parquet as pq

    return markdown_table(pq.read_table(rows, columns=list(columns)).slice(0, 5).to_pylist())


def table_metadata(
    rows: Path, descriptions: Mapping[str, str], sample: Iterable[str], count: int
) -> dict[str, Any]:
    """A Parquet table for Dagster's catalogue: its size, columns, and some of the first rows."""
    import pyarrow.parquet as pq

    fields = pq.ParquetDataset(rows).schema
    columns = {field.name: (str(field.type), descriptions.get(field.name)) for field in fields}
    return {
        "sample": sample_of(rows, sample),
        "dagster/row_count": count,
        "dagster/column_schema": table_schema(columns),
    }


def table_schema(columns: Mapping[str, tuple[str, str | None]]) -> dg.TableSchemaMetadataValue:
    """The columns of a table: type and description by name."""
    described = [dg.TableColumn(name, kind, text) for name, (kind, text) in columns.items()]
    return dg.MetadataValue.table_schema(dg.TableSchema(described))


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str
) -> dg.MarkdownMetadataValue:
    """Curves of points (x, y) by name, as a picture inside Markdown; `x` and `y` label the axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        axes.plot([point[0] for point in points], [point[1] for point in points], label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend()
    return _picture(figure, f"{y} over {x}")


def histograms(counts: Mapping[str, Mapping[int, int]]) -> dg.MarkdownMetadataValue:
    """Histograms side by side, as a picture inside Markdown, of how often each value occurs.

    The longest hundredth shares the last of 30 bars at most.
    """
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(counts), 1.9), layout="constrained")
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, (name, occurrences) in zip(panels, counts.items(), strict=True):
        values, weights = np.array(sorted(occurrences.items()) or [(0, 0)]).T
        most = values[np.searchsorted(weights.cumsum(), 0.99 * weights.sum())]
        axes.hist(np.minimum(values, most), bins=min(30, int(most) + 1), weights=weights)
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=6)
    return _picture(figure, "histograms of " + ", ".join(counts))


def _picture(figure: "Figure", alternative: str) -> dg.MarkdownMetadataValue:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    data = base64.b64encode(picture.getvalue()).decode()
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{data})")
