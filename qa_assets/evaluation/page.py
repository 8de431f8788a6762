"""The report as one self-contained HTML file, and its figures as JSON.

No script and nothing loaded from elsewhere. Everything that comes from data is escaped.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from qa_assets.evaluation import figures as make
from qa_assets.evaluation import plots
from qa_assets.evaluation.bootstrap import RESAMPLES
from qa_assets.evaluation.comparison import SHOWN, VERDICTS, Comparison, verdict
from qa_assets.evaluation.figures import ALWAYS_ABSTAIN, CANDIDATE, CHAMPION, UNTUNED, Figures

HTML, JSON = "report.html", "report.json"
_TEMPLATE = "report.html.j2"
_ORDER = (CANDIDATE, CHAMPION, UNTUNED)
_LABELS = {"exact": "EM", "f1": "F1", "HasAns_f1": "HasAns F1", "NoAns_f1": "NoAns F1"}
_CLASSES = ("right", "partly", "wrong", "missed", "invented")  # of the verdicts, in the page
_SHOWN_ARTICLES = 15
_FEW_ARTICLES = 10


def write_report(
    out: Path,
    compared: Comparison,
    *,
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
    train_answers: Collection[str] | None = None,
    histories: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
) -> Figures:
    """Write `report.html` and `report.json`; returns what is in the latter, see `figures.figures`.

    Args:
        out: an existing directory.
        compared: answers of `candidate`, and of `champion` and `untuned` where there are such.
        title: the page's heading.
        facts: what was evaluated on what, for the reader, by label.
        notes: what the reader must know of the figures.
        train_answers: normalised answers that the candidate learnt from.
        histories: points with `step` and `loss` of each trial.
    """
    import jinja2

    found = make.figures(compared, train_answers)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p_value"] = lambda p: "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    articles = len({row["title"] for row in compared.rows})
    models = [model for model in _ORDER if model in compared.scores]
    page = environment.get_template(_TEMPLATE).render(
        title=title,
        facts=facts,
        notes=[*notes, *_caveats(articles)],
        questions=len(compared.rows),
        articles=articles,
        figures=found,
        models=models,
        labels=_LABELS,
        lines=[_line(found, model) for model in (*models, ALWAYS_ABSTAIN)],
        outcomes=[(model, _outcomes(compared, model)) for model in models],
        slices=_slices(found, make.slice_intervals(compared, CANDIDATE, train_answers)),
        shown_articles=_SHOWN_ARTICLES,
        confidence=_confidence(compared),
        loss=_loss(histories or {}),
        wrong=sum(f1 == 0 for f1 in compared.column(CANDIDATE, "f1")),
        errors=[_error(row, models) for row in compared.worst(CANDIDATE)],
        resamples=RESAMPLES,
    )
    (out / JSON).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    (out / HTML).write_text(page, "utf-8")
    return found


def _caveats(articles: int) -> Iterator[str]:
    if articles == 1:
        yield "All questions are of one article, so that there is nothing to take intervals from."
    elif articles < _FEW_ARTICLES:
        yield f"Intervals from only {articles} articles tend to be too narrow."


def _line(found: Figures, model: str) -> dict[str, Any]:
    """A model's row of the table of scores."""
    scores, intervals = found["scores"][model], found["intervals"][model]
    cells = [(scores.get(name), intervals.get(name)) for name in SHOWN]
    return {"model": model, "cells": cells}


def _outcomes(compared: Comparison, model: str) -> list[dict[str, Any]]:
    """How many questions came to each verdict."""
    found = [verdict(row, model) for row in compared.rows]
    return [
        {
            "verdict": one,
            "style": style,
            "count": found.count(one),
            "percent": 100 * found.count(one) / len(found),
        }
        for one, style in zip(VERDICTS, _CLASSES, strict=True)
    ]


def _slices(
    found: Figures, intervals: Sequence[list[float] | None]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """The slices by what they are sliced by; of many articles the lowest."""
    rows = [
        row | {"interval": interval}
        for row, interval in zip(found["slices"], intervals, strict=True)
    ]
    groups = []
    for name, group in groupby(rows, key=lambda row: row["slice"]):
        shown = list(group)
        if name == "article":
            shown = sorted(shown, key=lambda row: row["f1"][CANDIDATE])[:_SHOWN_ARTICLES]
        groups.append((name, shown))
    return groups


def _confidence(compared: Comparison) -> dict[str, Any] | None:
    """The plots of confidence, where the candidate's is known."""
    sure = compared.column(CANDIDATE, "confidence")
    if not sure:
        return None
    right = compared.column(CANDIDATE, "exact")
    return {
        "reliability": plots.reliability(sure, right),
        "error": 100 * plots.calibration_error(sure, right),
        "mean": 100 * sum(sure) / len(sure),
        "risk": plots.risk_coverage(
            {
                model: (compared.column(model, "confidence"), compared.column(model, "f1"))
                for model in _ORDER
            }
        ),
    }


def _loss(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str | None:
    series = {
        name: [(point["step"], point["loss"]) for point in points]
        for name, points in histories.items()
        if points
    }
    return plots.curves(series, "step", "loss") if series else None


def _error(row: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """What the card of an error shows."""
    return {
        "row": row,
        "verdict": verdict(row, CANDIDATE),
        "confidence": row.get(f"{CANDIDATE}_confidence"),
        "others": [(model, row[model], row[f"{model}_f1"]) for model in models[1:]],
        "context": list(_marked(row["context"], row["references"], row[CANDIDATE])),
    }


def _marked(context: str, references: Sequence[str], answer: str) -> Iterator[tuple[str, str]]:
    """The context in pieces, each with what it is: "", "gold", "said" or "gold said"."""
    kinds: list[set[str]] = [set() for _ in context]
    for text, kind in [*((text, "gold") for text in references[:1]), (answer, "said")]:
        start = context.lower().find(text.lower()) if text else -1
        for place in range(start, min(start + len(text), len(context)) if start >= 0 else start):
            kinds[place].add(kind)
    pieces = zip(context, (" ".join(sorted(kind)) for kind in kinds), strict=True)
    for kind, characters in groupby(pieces, key=lambda piece: piece[1]):
        yield "".join(character for character, _ in characters), kind
