"""Whether an engine predicts as transformers does: the prompts to compare on, and the comparison.

How engines are run is in `engines`; which int8 recipe is chosen in `quantization.recipes`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from qa_assets.core.examples import Budget, Example, Prediction
from qa_assets.core.files import write_json
from qa_assets.core.task import Task
from qa_assets.evaluation.bootstrap import interval, resampled_sums
from qa_assets.models.loading import load
from qa_assets.models.task_model import PredictOptions

FILE = "expected.json"
LEAST_EQUAL = 0.995
"""The share of prompts on which full precision must predict the same as transformers."""
MOST_DIFFERENCE = 1e-3
"""Of a label's probability in full precision."""
MOST_LOSS = 0.5
"""Percent of the primary metric that int8 may lose: the lower end of the loss's interval."""
_LONG_WORDS = 4_000  # some 5,000 tokens
_UNICODE = {  # a short text, and a long one
    "Кто написал «Войну и мир»?": "«Войну и мир» написал Лев Толстой — в 1869 году.",
    "誰が東京に住んでいますか?": "太郎は東京に住んでいます。花子は大阪です。",
    "Wer zahlte 3,20 €?": "Zoë Müller zahlte naïvement 3,20 € für ein ½ Stück ﬁne Café①.",
    "¿Quién comió 🍎?": "La niña 👩‍👧 comió una 🍎\u00a0roja\u200b; el niño, una\u3000🍌.",
    "مَنْ كَتَبَ الرسالة؟": "كتب أحمد الرسالة في القاهرة.",
}


@dataclass(frozen=True)
class Case:
    """A prompt to compare engines on.

    Attributes:
        kind: `as given`, or what is special about the inputs.
        source: of the prompt.
        example: of the prompt.
        scored: whether the example's references are right for this prompt.
        expected: the text that transformers predicts.
        probabilities: of each label, where the model has such.
    """

    kind: str
    source: str
    example: Example
    scored: bool = False
    expected: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)


def cases(
    task: Task, examples: Sequence[Example], count: int, budget: Budget | None = None
) -> list[Case]:
    """The prompts to compare on.

    Besides `count` scored prompts there are hard ones, made of the task's inputs: the first takes a
    short text, such as a question, and the last a long one, such as a context.

    Args:
        task: of the examples.
        examples: at least one.
        count: of examples as they are and, where the task can abstain, with the last input of an
            example of another group, so that to abstain is right.
        budget: for the windows of the long text; None: the end of it is cut.
    """
    names = list(task.messages.inputs)
    first, last = names[0], names[-1]
    spread = list(examples[:: max(1, len(examples) // count)])[:count]
    result = [_case(task, "as given", example, scored=True) for example in spread]
    if task.abstention is not None and first != last:
        half = len(examples) // 2
        others = [*examples[half:], *examples[:half]]
        result += [
            _case(task, "abstention", _with(example, {last: other.inputs[last]}), scored=True)
            for example, other in zip(examples, others, strict=True)
            if example.group != other.group
        ][: count - len(result)]
    base = spread[0]
    result += [_case(task, "empty", _with(base, {last: text})) for text in ("", "  \n\t")]
    result += [
        _case(task, "Unicode", replace(_with(base, {first: short} | {last: long}), group="Unicode"))
        for short, long in _UNICODE.items()
    ]
    words = " ".join(example.inputs[last] for example in examples).split()
    while len(words) < _LONG_WORDS:
        words *= 2
    long_example = _with(base, {last: " ".join(words[:_LONG_WORDS])})
    result += [
        Case("long", prompt.source, long_example) for prompt in task.prompts(long_example, budget)
    ]
    return [case for case in result if case.source.strip()]  # engines skip blank prompts


def _with(example: Example, inputs: dict[str, str]) -> Example:
    return Example(example.id, example.group, {**example.inputs, **inputs})


def _case(task: Task, kind: str, example: Example, scored: bool = False) -> Case:
    return Case(kind, task.prompts(example)[0].source, example, scored)


def expect(
    model_dir: Path, task: Task, cases: Sequence[Case], out: Path, options: PredictOptions
) -> None:
    """Write the cases into the directory `out`, with what transformers predicts in fp32."""
    sources = [case.source for case in cases]
    outputs = load(model_dir, task).outputs(sources, replace(options, precision="fp32"))
    rows = [
        replace(case, expected=task.resolve([output]).text, probabilities=output.probabilities)
        for case, output in zip(cases, outputs, strict=True)
    ]
    write_json(out / FILE, [asdict(row) for row in rows])


def expected(directory: Path) -> list[Case]:
    """The cases that `expect` wrote."""
    rows = json.loads((directory / FILE).read_text(encoding="utf-8"))
    return [Case(**row | {"example": Example(**row["example"])}) for row in rows]


@dataclass(frozen=True)
class Parity:
    """How an engine compares with transformers.

    Attributes:
        prompts: compared.
        equal: of these, with the same prediction.
        loss: of the primary metric on the scored prompts, in percent.
        loss_interval: its 95 % interval.
        differing: prompts with another prediction, for a table.
        farthest: largest difference of a label's probability.
    """

    prompts: int
    equal: int
    loss: float
    loss_interval: list[float]
    differing: list[dict[str, str]]
    farthest: float = 0.0

    @property
    def same(self) -> bool:
        """Whether predictions and probabilities are the same, as full precision must be."""
        return self.equal >= LEAST_EQUAL * self.prompts and self.farthest <= MOST_DIFFERENCE

    @property
    def as_good(self) -> bool:
        """Whether a loss of more than `MOST_LOSS` is not proved, as int8 must be."""
        return self.loss_interval[0] <= MOST_LOSS


def compare(task: Task, cases: Sequence[Case], outputs: Sequence[Prediction]) -> Parity:
    """Compare an engine's outputs for the prompts of `expected` cases."""
    predictions = [task.resolve([output]) for output in outputs]
    pairs = list(zip(cases, predictions, strict=True))
    columns = ("kind", "source", "transformers", "here")
    differing = [
        dict(zip(columns, (case.kind, case.source, case.expected, prediction.text), strict=True))
        for case, prediction in pairs
        if case.expected != prediction.text
    ]
    scored = [(case, prediction) for case, prediction in pairs if case.scored]
    examples = [case.example for case, _ in scored]
    loss, loss_interval = paired_loss(
        [example.group for example in examples],
        primary_scores(task, examples, [Prediction(case.expected) for case, _ in scored]),
        primary_scores(task, examples, [prediction for _, prediction in scored]),
    )
    farthest = max(
        (
            abs(output.probabilities[label] - probability)
            for case, output in zip(cases, outputs, strict=True)
            for label, probability in case.probabilities.items()
        ),
        default=0.0,
    )
    equal = len(cases) - len(differing)
    return Parity(len(cases), equal, loss, loss_interval, differing, farthest)


def primary_scores(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[float]:
    """The primary metric of each prediction, from 0 to 1."""
    return task.score(examples, predictions).rows[task.metrics.primary]


def paired_loss(
    groups: Sequence[str], before: Sequence[float], after: Sequence[float]
) -> tuple[float, list[float]]:
    """Mean loss of a metric from 0 to 1, in percent, and its 95 % interval by whole groups."""
    loss = 100 * (np.asarray(before) - np.asarray(after))
    sums = resampled_sums(groups, np.stack([loss, np.ones_like(loss)], axis=1))
    return float(loss.mean()), interval(sums[:, 0] / sums[:, 1])
