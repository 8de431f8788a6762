"""What a written split holds, for people: lengths, parts, and how many examples become windows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qa_assets.core.examples import Budget, Count, Example, read_examples
from qa_assets.core.task import Task

_BATCH = 2048
_MOST_VALUES = 50  # of a slice that is shown


@dataclass
class Description:
    """Examples of a split, counted.

    Attributes:
        groups: how many there are.
        lengths: examples by length, for each input field and for the first reference.
        slices: slice, value and examples of each part that `Task.slices` tells apart.
        windowed: examples that become several prompts.
        windows: prompts of these.
        lost: references of these that are the target of no prompt.
    """

    groups: int = 0
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    slices: list[tuple[str, str, int]] = field(default_factory=list)
    windowed: int = 0
    windows: int = 0
    lost: int = 0


def describe(task: Task, rows: Path, count: Count, budget: Budget | None) -> Description:
    """Describe the examples of a split.

    Args:
        task: theirs.
        rows: Parquet, as `splits` writes it.
        count: lengths of texts.
        budget: of a source; None: windows are not counted.
    """
    examples = read_examples(rows)
    result = Description(groups=len({example.group for example in examples}))
    result.lengths = {
        name: _lengths([example.inputs[name] for example in examples], count)
        for name in task.messages.inputs
    }
    answers = [example.references[0] for example in examples if example.references]
    result.lengths[task.words.response] = _lengths(answers, count)
    slices: dict[str, list[tuple[str, int]]] = {}
    for name, value, numbers in task.slices(examples):
        slices.setdefault(name, []).append((value, len(numbers)))
    result.slices = [
        (name, value, size)
        for name, parts in slices.items()
        if len(parts) <= _MOST_VALUES
        for value, size in parts
    ]
    if budget is not None:
        _count_windows(result, task, examples, budget)
    return result


def count_words(texts: Sequence[str]) -> list[int]:
    """A `Count` where there is no model to know what a token is."""
    return [len(text.split()) for text in texts]


def _lengths(texts: Sequence[str], count: Count) -> Counter[int]:
    """How many texts there are of each length; what repeats is tokenised once."""
    different = list(dict.fromkeys(texts))
    lengths: dict[str, int] = {}
    for start in range(0, len(different), _BATCH):
        batch = different[start : start + _BATCH]
        lengths |= zip(batch, count(batch), strict=True)
    return Counter(lengths[text] for text in texts)


def _count_windows(
    result: Description, task: Task, examples: Sequence[Example], budget: Budget
) -> None:
    for example in examples:
        prompts = task.prompts(example, budget)
        if len(prompts) > 1:
            targets = {target for prompt in prompts for target in prompt.targets}
            result.windowed += 1
            result.windows += len(prompts)
            result.lost += len(set(example.references) - targets)
