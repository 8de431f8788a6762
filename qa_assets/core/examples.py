"""The data that stages pass on: examples, prompts, predictions, scores; and reading examples.

How a task turns examples into prompts and predictions into scores belongs to `core.task`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Count = Callable[[Sequence[str]], Sequence[int]]
"""The number of tokens of each text, without special ones."""


@dataclass(frozen=True)
class Example:
    """A row of a split; downstream of the splits there is no other.

    Attributes:
        id: unique in its split.
        group: unit of splitting and of resampling, such as an article.
        inputs: the fields of a request, by name.
        references: the outputs that count as right; none: to abstain is right.
        extra: fields of the task's own, such as offsets of answers.
    """

    id: str
    group: str
    inputs: Mapping[str, str]
    references: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """How much of an example a model reads at once.

    Attributes:
        count: of the model's tokens.
        max_tokens: of a source, its end included.
        overlap: tokens that neighbouring windows share, where an example becomes several prompts.
    """

    count: Count
    max_tokens: int
    overlap: int


@dataclass(frozen=True)
class Prompt:
    """A model's input, and the targets to learn.

    Attributes:
        source: the text that is tokenised.
        targets: a text-to-text model learns the first; an encoder all of them, as labels.
    """

    source: str
    targets: Sequence[str] = ()


@dataclass(frozen=True)
class Prediction:
    """A model's output for a prompt, or for a whole example.

    Attributes:
        text: the answer or label; "" where the model abstains.
        confidence: its probability; None where the engine returns none.
        probabilities: of the labels, by name; empty unless the model is an encoder.
    """

    text: str
    confidence: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """How good predictions are.

    Attributes:
        figures: by measure, over all examples: percentages, and counts whose names end in `total`.
        rows: by measure, a value from 0 to 1 for each example, NaN where the measure does not
            apply. A figure of the same name is the mean of these, in percent.
    """

    figures: dict[str, float]
    rows: dict[str, list[float]]


class ExamplesError(ValueError):
    """Examples that cannot be read; the message names the place."""


def read_examples(path: Path, limit: int | None = None, seed: int = 0) -> list[Example]:
    """Read a split, or a random sample of at most `limit` of its examples, in their order.

    It is a Parquet file, or a directory of part files.

    Raises:
        ExamplesError: nothing is there, a column is missing, or there are no rows.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.dataset as ds

    columns = list(Example.__dataclass_fields__)
    try:
        table = ds.dataset(path, format="parquet").to_table(columns)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise ExamplesError(
            f"{path}: not Parquet with the columns {', '.join(columns)} ({error})"
        ) from error
    if not table.num_rows:
        raise ExamplesError(f"{path}: no rows")
    if limit is not None and limit < table.num_rows:
        chosen = np.random.default_rng(seed).choice(table.num_rows, limit, replace=False)
        table = table.take(sorted(chosen))
    return [Example(**row) for row in table.to_pylist()]
