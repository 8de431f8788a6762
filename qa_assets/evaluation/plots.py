"""Plots of the report as SVG to be put into a page, in the colours of the page.

Drawn by matplotlib in stand-in colours, which become variables of the page's style sheet, so that
a plot follows it from light to dark.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qa_assets.core.reliability import BINS, bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT = "#010203", "#040506"
_SERIES = ("#a00001", "#a00002", "#a00003", "#a00004", "#a00005", "#a00006")
_VARIABLES = {_INK: "var(--soft)", _FAINT: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, 1)
}
_WIDTH, _HEIGHT = 4.7, 3.1  # inches; a phone shows it at about full size
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
Points = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Points], x: str, y: str) -> str:
    """Lines as SVG, with the labels of both axes.

    `series` has points (x, y) by name; the position gives the colour, be there points or not.
    """

    def draw(axes: "Axes") -> None:
        for number, (name, points) in enumerate(series.items()):
            if points:
                xs, ys = zip(*points, strict=True)
                axes.plot(xs, ys, label=name, color=_SERIES[number % len(_SERIES)], linewidth=1.8)

    return _svg(draw, x, y, f"{y} over {x}", sum(map(bool, series.values())))


def reliability(confidences: Sequence[float], right: Sequence[float]) -> str:
    """Share of right predictions over confidence, in bins of equal width, as SVG.

    Args:
        confidences: from 0 to 1, by example.
        right: 1 for a right prediction, else 0.
    """
    numbers = bins(confidences)
    counts = np.bincount(numbers, minlength=BINS)
    heights = 100 * np.bincount(numbers, right, BINS) / np.maximum(counts, 1)
    shades = [(_SERIES[0], 0.25 + 0.75 * share**0.5) for share in counts / len(numbers)]

    def draw(axes: "Axes") -> None:
        axes.plot([0, 100], [0, 100], color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        middles = 100 * (np.arange(BINS) + 0.5) / BINS
        axes.bar(middles, heights, width=92 / BINS, color=shades, linewidth=0)
        axes.set(xlim=(0, 100), ylim=(0, 100))

    return _svg(draw, "confidence, %", "right, %", "reliability", 1)


def risk_coverage(
    models: Mapping[str, tuple[Sequence[float], Sequence[float]]], metric: str, outputs: str
) -> str:
    """What a metric lacks on the predictions of most confidence, over how many those are, as SVG.

    Args:
        models: confidences and the metric, both from 0 to 1 and by example, of each model; empty
            where the model is not there, see `curves`.
        metric: its label.
        outputs: what the models predict, in the plural.
    """
    series: dict[str, Points] = {}
    for name, (confidences, values) in models.items():
        series[name] = []
        if not confidences:
            continue
        order = np.argsort(-np.asarray(confidences), kind="stable")
        risk = 100 - 100 * np.cumsum(np.asarray(values)[order]) / np.arange(1, len(order) + 1)
        # a mean over the first few is noise
        shown = np.unique(np.linspace(max(1, len(order) // 50), len(order), 200).astype(int))
        series[name] = [(100 * n / len(order), risk[n - 1]) for n in shown]
    return curves(series, f"{outputs} taken, surest first, %", f"risk: 100 − {metric}")


def _svg(draw: Any, x: str, y: str, title: str, names: int) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set(xlabel=x, ylabel=y)
        axes.tick_params(length=0)
        if 1 < names <= len(_SERIES):
            axes.legend()
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return _inline(written.getvalue(), title)


def _inline(svg: str, title: str) -> str:
    """An SVG document as an element of a page: without prologue, fixed size or colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r" font-family: [^;]*;| id=\"[a-z0-9.]+_\d+\"", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
