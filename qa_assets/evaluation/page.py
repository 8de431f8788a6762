"""The report as one self-contained HTML file, and its figures as JSON.

No script and nothing loaded from elsewhere. Everything that comes from data is escaped. What the
figures are is in `figures`; labels and names come from the task.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from qa_assets.core.descriptions import Words
from qa_assets.core.examples import Example
from qa_assets.core.reliability import calibration_error
from qa_assets.core.slicing import Slice
from qa_assets.evaluation import plots
from qa_assets.evaluation.bootstrap import RESAMPLES
from qa_assets.evaluation.comparison import Comparison, Verdict
from qa_assets.evaluation.figures import (
    CANDIDATE,
    CHAMPION,
    UNTUNED,
    Figures,
    figures,
    slice_intervals,
)

HTML, JSON = "report.html", "report.json"
_TEMPLATE = "report.html.j2"
_ORDER = (CANDIDATE, CHAMPION, UNTUNED)
_MOST_VALUES = 15  # of a slice that is shown
_FEW_GROUPS = 10
_TITLE_CHARS = 120


def write_report(
    out: Path,
    comparison: Comparison,
    *,
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
    train: Callable[[], Sequence[Example]] | None = None,
    histories: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
) -> Figures:
    """Write `report.html` and `report.json`; returns what is in the latter, see `figures.figures`.

    Args:
        out: an existing directory.
        comparison: of `candidate`, and of `champion` and `untuned` where there are such.
        title: the page's heading.
        facts: what was evaluated on what, for the reader, by label.
        notes: what the reader must know of the figures.
        train: loads the examples that the candidate learnt from; None where they are not known.
        histories: points with `step` and `loss` of each trial.
    """
    import jinja2

    task, examples = comparison.task, comparison.examples
    load_train = cache(train) if train else None
    baselines = Comparison(task, examples, task.baselines(examples, load_train))
    references = (
        {text for example in load_train() for text in example.references} if load_train else None
    )
    slices = list(task.slices(examples, references))
    report = figures(comparison, baselines, slices)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p_value"] = lambda p: "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    losses = {
        name: [(point["step"], point["loss"]) for point in points]
        for name, points in (histories or {}).items()
        if points
    }
    groups = len({example.group for example in examples})
    models = [model for model in _ORDER if model in comparison.scores]
    errors = [_error(comparison, number, models) for number in comparison.worst(CANDIDATE)]
    page = environment.get_template(_TEMPLATE).render(
        title=title,
        facts=facts,
        notes=[*notes, *_caveats(task.words, groups)],
        words=task.words,
        metrics=task.metrics,
        primary=task.metrics.shown[task.metrics.primary],
        examples=len(examples),
        groups=groups,
        report=report,
        models=models,
        baselines=list(baselines.scores),
        outcomes=[(model, _outcomes(comparison, model)) for model in models],
        slices=_slices(comparison, report, slices),
        sections=task.report_sections(examples, comparison.predictions[CANDIDATE]),
        confidence=_confidence(comparison),
        loss=plots.curves(losses, "step", "loss") if losses else None,
        wrong=sum(value == 0 for value in comparison.primary(CANDIDATE)),
        errors=errors,
        last_input=list(task.messages.inputs)[-1],
        marked=any(kind for error in errors for _, kind in error["text"]),
        resamples=RESAMPLES,
    )
    (out / JSON).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (out / HTML).write_text(page, "utf-8")
    return report


def _caveats(words: Words, groups: int) -> Iterator[str]:
    if groups == 1:
        yield (
            f"All {words.request}s are of one {words.group}, so that there is nothing to take "
            "intervals from."
        )
    elif groups < _FEW_GROUPS:
        yield f"Intervals from only {groups} {words.group}s tend to be too narrow."


def _outcomes(comparison: Comparison, model: str) -> list[dict[str, Any]]:
    """How many examples came to each verdict."""
    total = len(comparison.examples)
    counts = Counter(comparison.verdict(model, number) for number in range(total))
    return [
        {
            "verdict": str(verdict),
            "style": verdict.name.lower(),
            "count": counts[verdict],
            "percent": 100 * counts[verdict] / total,
        }
        for verdict in Verdict
    ]


def _slices(
    comparison: Comparison, report: Figures, slices: Sequence[Slice]
) -> list[tuple[str, list[dict[str, Any]], bool]]:
    """Name, rows and whether rows are left out: of many values the lowest are shown."""
    task = comparison.task
    intervals = slice_intervals(comparison, CANDIDATE, slices)
    rows = [
        row | {"interval": interval, "by_model": row[task.metrics.primary]}
        for row, interval in zip(report["slices"], intervals, strict=True)
    ]
    parts = []
    for name, group in groupby(rows, key=lambda row: row["slice"]):
        shown = list(group)
        many = len(shown) > _MOST_VALUES
        if many or name == task.words.group:
            shown.sort(key=lambda row: row["by_model"][CANDIDATE])
        parts.append((name, shown[:_MOST_VALUES], many))
    return parts


def _confidence(comparison: Comparison) -> dict[str, Any] | None:
    """The plots of confidence, where the candidate's is known."""
    confidences, right = comparison.confidences(CANDIDATE), comparison.exact(CANDIDATE)
    if not confidences:
        return None
    metrics = comparison.task.metrics
    risks: dict[str, tuple[list[float], list[float]]] = {
        model: (comparison.confidences(model), comparison.primary(model))
        if model in comparison.scores
        else ([], [])
        for model in _ORDER
    }
    return {
        "reliability": plots.reliability(confidences, right),
        "error": 100 * calibration_error(confidences, right),
        "mean": 100 * sum(confidences) / len(confidences),
        "risk": plots.risk_coverage(
            risks, metrics.shown[metrics.primary], f"{comparison.task.words.response}s"
        ),
    }


def _error(comparison: Comparison, number: int, models: Sequence[str]) -> dict[str, Any]:
    """What the card of an error shows."""
    example = comparison.examples[number]
    *inputs, (_, text) = ((name, example.inputs[name]) for name in comparison.task.messages.inputs)
    if inputs:
        _, title = inputs.pop(0)
    else:
        title = text if len(text) <= _TITLE_CHARS else f"{text[:_TITLE_CHARS]}…"
    prediction = comparison.predictions[CANDIDATE][number]
    return {
        "example": example,
        "title": title,
        "inputs": inputs,
        "gold": comparison.gold(number),
        "verdict": str(comparison.verdict(CANDIDATE, number)),
        "confidence": prediction.confidence if comparison.confidences(CANDIDATE) else None,
        "output": comparison.output(CANDIDATE, number),
        "others": [
            (model, comparison.output(model, number), comparison.primary(model)[number])
            for model in models[1:]
        ],
        "text": list(_marked(text, example.references, prediction.text)),
    }


def _marked(text: str, references: Sequence[str], prediction: str) -> Iterator[tuple[str, str]]:
    """The text in pieces, each with what it is: "", "expected", "predicted" or both."""
    kinds: list[set[str]] = [set() for _ in text]
    for part, kind in [*((part, "expected") for part in references[:1]), (prediction, "predicted")]:
        start = text.lower().find(part.lower()) if part else -1
        for place in range(start, min(start + len(part), len(text)) if start >= 0 else start):
            kinds[place].add(kind)
    pieces = zip(text, (" ".join(sorted(kind)) for kind in kinds), strict=True)
    for kind, characters in groupby(pieces, key=lambda piece: piece[1]):
        yield "".join(character for character, _ in characters), kind
