"""Models side by side on the same examples: scores, verdicts, and tables of predictions.

Intervals and slices are in `figures`, the page in `page`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qa_assets.core.examples import Example, Prediction, Scores
from qa_assets.core.task import Task

if TYPE_CHECKING:
    import pandas as pd

ABSTAINED = "(abstained)"


class Verdict(StrEnum):
    """What became of an example."""

    RIGHT = "right"
    PARTLY = "partly right"
    WRONG = "wrong"
    MISSED = "abstained wrongly"
    INVENTED = "answered wrongly"


@dataclass(frozen=True)
class Comparison:
    """Predictions for the same examples, by model, and their scores."""

    task: Task
    examples: Sequence[Example]
    predictions: Mapping[str, Sequence[Prediction]]

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """By model."""
        scored = self.predictions.items()
        return {model: self.task.score(self.examples, rows) for model, rows in scored}

    def primary(self, model: str) -> list[float]:
        """A model's primary metric for each example, from 0 to 1."""
        return self.scores[model].rows[self.task.metrics.primary]

    def exact(self, model: str) -> list[float]:
        """1 for each example that a model gets entirely right, else 0."""
        return self.scores[model].rows[self.task.metrics.exact]

    def confidences(self, model: str) -> list[float]:
        """A model's confidence for each example; empty unless all are known."""
        known = [p.confidence for p in self.predictions[model] if p.confidence is not None]
        return known if len(known) == len(self.examples) else []

    def verdict(self, model: str, number: int) -> Verdict:
        """What became of the example of that number."""
        value = self.primary(model)[number]
        if value > 0:
            return Verdict.RIGHT if value == 1 else Verdict.PARTLY
        if not self.examples[number].references:
            return Verdict.INVENTED
        return Verdict.WRONG if self.predictions[model][number].text else Verdict.MISSED

    def worst(self, model: str, count: int = 50) -> list[int]:
        """Numbers of a model's worst errors: the surest first, else spread over the data."""
        values, confidences = self.primary(model), self.confidences(model)
        wrong = sorted((n for n, value in enumerate(values) if value < 1), key=values.__getitem__)
        if confidences:
            wrong.sort(key=lambda number: confidences[number] * (values[number] - 1))
            return wrong[:count]
        zeros = [number for number in wrong if values[number] == 0]
        if len(zeros) <= count:
            return wrong[:count]
        return [zeros[len(zeros) * part // count] for part in range(count)]

    def table(self) -> list[dict[str, Any]]:
        """The scores, rounded: a row for each model."""
        shown = self.task.metrics.shown.items()
        return [
            {"model": model}
            | {label: round(scores.figures.get(name, float("nan")), 2) for name, label in shown}
            for model, scores in self.scores.items()
        ]

    def errors(self, model: str, count: int = 30) -> list[dict[str, Any]]:
        """The worst errors of a model: a row for each, with all inputs."""
        first, *others = self.task.messages.inputs
        return [self._shown(model, n, [first], others) for n in self.worst(model, count)]

    def samples(self, model: str, count: int = 8) -> list[dict[str, Any]]:
        """The first examples, half of them such where abstaining is right, if there are so many."""
        abstain = [n for n, row in enumerate(self.examples) if not row.references][: count // 2]
        answer = [n for n, row in enumerate(self.examples) if row.references]
        metrics, kept = self.task.metrics, self.task.messages.kept_inputs
        return [
            self._shown(model, n, kept)
            | {metrics.shown[metrics.primary]: round(self.primary(model)[n], 2)}
            for n in answer[: count - len(abstain)] + abstain
        ]

    def gold(self, number: int) -> str:
        """The references of an example, for people."""
        return " / ".join(self.examples[number].references) or f"(no {self.task.words.response})"

    def output(self, model: str, number: int) -> str:
        """A model's prediction, for people."""
        return self.predictions[model][number].text or ABSTAINED

    def _shown(
        self, model: str, number: int, before: Sequence[str], after: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Reference and prediction, with input fields before and after them."""
        inputs = self.examples[number].inputs
        return {
            **{name: inputs[name] for name in before},
            "gold": self.gold(number),
            self.task.words.response: self.output(model, number),
            **{name: inputs[name] for name in after},
        }

    def to_frame(self) -> "pd.DataFrame":
        """A row for each example: its fields, and by model the prediction and its scores.

        A model's text has the name of the model, its confidence, where known, and its exact and
        primary metric the names `<model>_confidence` and `<model>_<metric>`.
        """
        import pandas as pd

        metrics = self.task.metrics
        columns: dict[str, list[Any]] = {
            "id": [example.id for example in self.examples],
            "group": [example.group for example in self.examples],
            **{name: [e.inputs[name] for e in self.examples] for name in self.task.messages.inputs},
            "references": [list(example.references) for example in self.examples],
        }
        for model, predictions in self.predictions.items():
            columns[model] = [prediction.text for prediction in predictions]
            for name in (metrics.exact, metrics.primary):
                columns[f"{model}_{name}"] = self.scores[model].rows[name]
            if confidences := self.confidences(model):
                columns[f"{model}_confidence"] = confidences
        return pd.DataFrame(columns)
