"""Statistics of a written split for its metadata: lengths, slices, windows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qa_assets.core.examples import Budget, Count, read_examples
from qa_assets.core.task import Task

_BATCH = 2048
_MOST_VALUES = 50  # of a slice that is shown


@dataclass
class Description:
    """Counts of a split's examples.

    Attributes:
        groups: distinct ones.
        lengths: examples by length, for each input field and for the first reference.
        slices: slice, value and examples of each part in `Task.slices`.
        windowed: examples that become several prompts.
        windows: prompts of these.
        lost: references of these that are the target of no prompt.
    """

    groups: int
    lengths: dict[str, Counter[int]]
    slices: list[tuple[str, str, int]]
    windowed: int = 0
    windows: int = 0
    lost: int = 0


def describe(task: Task, rows: Path, count: Count, budget: Budget | None) -> Description:
    """Describe a split (Parquet `rows`); without a budget, no windows are counted."""
    examples = read_examples(rows)
    texts = {name: [example.inputs[name] for example in examples] for name in task.messages.inputs}
    texts[task.words.response] = [e.references[0] for e in examples if e.references]
    slices = [(name, value, len(numbers)) for name, value, numbers in task.slices(examples)]
    values = Counter(name for name, _, _ in slices)
    result = Description(
        groups=len({example.group for example in examples}),
        lengths={name: _lengths(column, count) for name, column in texts.items()},
        slices=[part for part in slices if values[part[0]] <= _MOST_VALUES],
    )
    for example in examples if budget else ():
        prompts = task.prompts(example, budget)
        if len(prompts) > 1:
            targets = {target for prompt in prompts for target in prompt.targets}
            result.windowed += 1
            result.windows += len(prompts)
            result.lost += len(set(example.references) - targets)
    return result


def count_words(texts: Sequence[str]) -> list[int]:
    """A `Count` of words, for a base model whose tokenizer is not known yet."""
    return [len(text.split()) for text in texts]


def _lengths(texts: Sequence[str], count: Count) -> Counter[int]:
    """Texts by length; repeated texts are tokenised once."""
    distinct = list(dict.fromkeys(texts))
    lengths: dict[str, int] = {}
    for start in range(0, len(distinct), _BATCH):
        batch = distinct[start : start + _BATCH]
        lengths |= zip(batch, count(batch), strict=True)
    return Counter(lengths[text] for text in texts)
