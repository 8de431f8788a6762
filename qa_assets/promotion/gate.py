"""The gate: whether a report allows a candidate to become the champion, with reasons in words.

A report holds the figures of `evaluation.figures` for `candidate`, `untuned` and, where there is
one, `champion`. A figure that is missing or not a number never passes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from qa_assets.core.task import Task

Report = Mapping[str, Any]


class GateConfig(BaseModel):
    """What a candidate must reach to become the champion; percent, on test."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floors: dict[str, Annotated[float, Field(ge=0, le=100)]] | None = Field(
        None, description="The least that measures of the task must reach; null: the task's own."
    )
    margin: float = Field(
        1.0,
        ge=0,
        description="Points of the primary metric by which the candidate may be worse than the "
        "champion, at the lower end of the interval of their difference.",
    )
    slice_drop: float = Field(
        15, ge=0, description="Points by which it may be worse than the champion in any slice."
    )
    slice_examples: int = Field(200, ge=1, description="Smaller slices are not looked at.")


@dataclass(frozen=True)
class Criterion:
    """A condition that a candidate has to meet; the reason names the figures."""

    name: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """All criteria; each of them has to pass."""

    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether the candidate may become the champion."""
        return all(criterion.passed for criterion in self.criteria)

    @property
    def reasons(self) -> str:
        """The verdict and its reasons, in words."""
        verdict = "may be promoted" if self.passed else "is not promoted"
        decisive = [criterion for criterion in self.criteria if criterion.passed == self.passed]
        reasons = "; ".join(f"{criterion.name}: {criterion.reason}" for criterion in decisive)
        return f"the candidate {verdict}: {reasons}"


def refused(name: str, reason: str) -> Decision:
    """The decision against a candidate that no report can be compared for."""
    return Decision((Criterion(name, False, reason),))


def decide(report: Report, config: GateConfig, task: Task, *, champion: bool) -> Decision:
    """Judge a candidate by its report, which must compare it with the champion if there is one."""
    judge = _Judge(report, config, task)
    floors = task.metrics.floors if config.floors is None else config.floors
    criteria = [judge.better_than_untuned()]
    criteria += [judge.floor(measure, floor) for measure, floor in floors.items()]
    if champion:
        criteria += [judge.not_worse(), judge.no_slice_collapsed()]
    else:
        criteria.append(Criterion("not worse than the champion", True, "there is none yet"))
    return Decision(tuple(criteria))


@dataclass(frozen=True)
class _Judge:
    report: Report
    config: GateConfig
    task: Task

    @property
    def primary(self) -> str:
        return self.task.metrics.primary

    @property
    def label(self) -> str:
        return self.task.metrics.shown[self.primary]

    def better_than_untuned(self) -> Criterion:
        difference, low, high = self._paired("untuned")
        scores = self._score("candidate", self.primary), self._score("untuned", self.primary)
        reason = (
            f"{self.label} {scores[0]:.2f} against {scores[1]:.2f}, "
            f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        )
        # a broken report may lack the scores and have paired figures all the same
        passed = all(map(math.isfinite, scores)) and difference > 0 and low > 0
        return Criterion("better than untuned", passed, reason)

    def floor(self, measure: str, floor: float) -> Criterion:
        shown = self.task.metrics.shown
        name = f"{shown.get(measure, measure)} of {floor:g} or more"
        if measure not in shown:
            return Criterion(name, False, f"there are only the measures {', '.join(shown)}")
        scores = _at(self.report, "scores", default={})
        if all(_at(scores, model, measure, default=None) is None for model in scores):
            return Criterion(name, True, f"the test split has no such {self.task.words.request}s")
        score = self._score("candidate", measure)
        return Criterion(name, score >= floor, f"{score:.2f}")

    def not_worse(self) -> Criterion:
        difference, low, high = self._paired("champion")
        margin = self.config.margin
        name = f"not worse than the champion by more than {margin:g} {self.label}"
        reason = f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        passed = math.isfinite(difference) and low >= -margin
        if not passed and difference >= -margin:
            reason += (
                f", which is too wide to tell: report on more {self.task.words.request}s "
                "(`data.eval_examples`) or allow more (`gate.margin`)"
            )
        return Criterion(name, passed, reason)

    def no_slice_collapsed(self) -> Criterion:
        drop, least = self.config.slice_drop, self.config.slice_examples
        compared, collapsed = 0, []
        for row in _at(self.report, "slices", default=[]):
            scores = row[self.primary]
            if row["examples"] < least or "champion" not in scores:
                continue
            compared += 1
            candidate = float(scores.get("candidate", math.nan))
            champion = float(scores["champion"])
            if not candidate >= champion - drop:
                collapsed.append(
                    f"{row['slice']} {row['value']}: {candidate:.2f} against {champion:.2f}"
                )
        return Criterion(
            f"no slice worse than the champion's by more than {drop:g} {self.label}",
            not collapsed,
            ", ".join(collapsed)
            or f"{compared} slices of {least} {self.task.words.request}s or more",
        )

    def _paired(self, other: str) -> tuple[float, float, float]:
        """The candidate's primary metric less another model's, and the ends of the interval."""
        paired = _at(self.report, "paired", other, default={})
        low, high = map(float, _at(paired, "interval", default=(math.nan, math.nan)))
        return float(_at(paired, f"{self.primary}_difference", default=math.nan)), low, high

    def _score(self, model: str, measure: str) -> float:
        return float(_at(self.report, "scores", model, measure, default=math.nan))


def _at(report: Report, *keys: str, default: Any) -> Any:
    value: Any = report
    for key in keys:
        if not isinstance(value, Mapping) or value.get(key) is None:
            return default
        value = value[key]
    return value
