"""The gate: whether a report allows a candidate to become the champion, with reasons in words.

A report, made by `test_report`, holds by model (`untuned`, `candidate`, `champion`):
`scores` in percent; `paired`, what the candidate's F1 is above another model's on the same
questions, with the 95 % interval by article; `slices`, F1 on parts of the questions. A figure that
is missing or not a number never passes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa_assets.settings import GateSettings

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Criterion:
    """One thing that was asked of the candidate, and what was found."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Decision:
    """All criteria, of which every one has to pass."""

    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may become the champion."""
        return all(criterion.passed for criterion in self.criteria)

    @property
    def reasons(self) -> str:
        """Why not, or why, in words."""
        told = [one for one in self.criteria if one.passed == self.passed]
        verdict = "may be promoted" if self.passed else "is not promoted"
        return f"the candidate {verdict}: " + "; ".join(f"{one.name}: {one.found}" for one in told)


def refused(name: str, found: str) -> Decision:
    """The decision against a candidate whose report cannot even be judged by."""
    return Decision((Criterion(name, False, found),))


def decide(report: Report, gate: "GateSettings", *, champion: bool) -> Decision:
    """Judge a candidate by its report.

    Args:
        report: as the module's docstring says.
        gate: what has to be reached.
        champion: whether there is one, which the candidate then has to be compared with.
    """
    criteria = [
        _better_than_untuned(report),
        _floor(report, "HasAns", gate.has_answer_f1),
        _floor(report, "NoAns", gate.no_answer_f1),
    ]
    if champion:
        criteria += [_not_worse(report, gate), _no_slice_collapsed(report, gate)]
    else:
        criteria.append(Criterion("not worse than the champion", True, "there is none yet"))
    return Decision(tuple(criteria))


def _better_than_untuned(report: Report) -> Criterion:
    difference, low, high = _paired(report, "untuned")
    found = (
        f"F1 {_f1(report, 'candidate'):.2f} against {_f1(report, 'untuned'):.2f}, "
        f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
    )
    # the scores too: the paired figures of a broken report may look well
    whole = math.isfinite(_f1(report, "candidate")) and math.isfinite(_f1(report, "untuned"))
    return Criterion("better than untuned", whole and difference > 0 and low > 0, found)


def _floor(report: Report, part: str, floor: float) -> Criterion:
    name = f"{part} F1 of {floor:g} or more"
    models = _at(report, "scores", default={})
    if all(_at(report, "scores", model, f"{part}_f1", default=None) is None for model in models):
        return Criterion(name, True, "the test split has no such questions")
    f1 = _number(report, "scores", "candidate", f"{part}_f1")
    return Criterion(name, f1 >= floor, f"{f1:.2f}")


def _not_worse(report: Report, gate: "GateSettings") -> Criterion:
    difference, low, high = _paired(report, "champion")
    name = f"not worse than the champion by more than {gate.margin:g} F1"
    found = f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
    passed = math.isfinite(difference) and low >= -gate.margin
    if not passed and difference >= -gate.margin:
        found += (
            ", which is too wide to tell: report on more questions "
            "(QA_ASSETS_DATA_EVAL_QUESTIONS) or allow more (QA_ASSETS_GATE_MARGIN)"
        )
    return Criterion(name, passed, found)


def _no_slice_collapsed(report: Report, gate: "GateSettings") -> Criterion:
    name = f"no slice worse than the champion's by more than {gate.slice_drop:g} F1"
    looked, collapsed = 0, []
    for row in _at(report, "slices", default=[]):
        if row["questions"] < gate.slice_questions or "champion" not in row["f1"]:
            continue
        looked += 1
        ours, theirs = (float(row["f1"].get(who, math.nan)) for who in ("candidate", "champion"))
        if not ours >= theirs - gate.slice_drop:
            collapsed.append(f"{row['slice']} {row['value']}: {ours:.2f} against {theirs:.2f}")
    least = f"{looked} slices of {gate.slice_questions} questions or more"
    return Criterion(name, not collapsed, ", ".join(collapsed) or least)


def _paired(report: Report, other: str) -> tuple[float, float, float]:
    """What the candidate's F1 is above the other model's, and the ends of the interval."""
    interval = _at(report, "paired", other, "interval", default=(math.nan, math.nan))
    low, high = (float(end) for end in interval)
    return _number(report, "paired", other, "f1_difference"), low, high


def _f1(report: Report, model: str) -> float:
    return _number(report, "scores", model, "f1")


def _number(report: Report, *keys: str) -> float:
    return float(_at(report, *keys, default=math.nan))


def _at(report: Report, *keys: str, default: Any) -> Any:
    found: Any = report
    for key in keys:
        if not isinstance(found, Mapping) or found.get(key) is None:
            return default
        found = found[key]
    return found
