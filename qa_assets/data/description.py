"""What a written split holds, for people: question words, lengths, contexts in windows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qa_assets.tasks.question_answering.slices import question_word
from qa_assets.tasks.question_answering.windows import Count, Windows

_PROMPT = 32  # more than the tokens of a source that are neither question nor context


@dataclass
class Description:
    """Questions of a split, counted.

    Attributes:
        titles: the articles.
        types: questions by their question word.
        question: questions by their length, like the next two.
        context: by the length of their context.
        answer: answerable ones by the length of their first answer.
        windowed: questions whose context becomes windows.
        windows: of these.
        lost: answers of these that no window holds whole.
    """

    titles: set[str] = field(default_factory=set)
    types: Counter[str] = field(default_factory=Counter)
    question: Counter[int] = field(default_factory=Counter)
    context: Counter[int] = field(default_factory=Counter)
    answer: Counter[int] = field(default_factory=Counter)
    windowed: int = 0
    windows: int = 0
    lost: int = 0

    @property
    def lengths(self) -> dict[str, Counter[int]]:
        """Questions by length, for each of what has one."""
        return {"question": self.question, "context": self.context, "answer": self.answer}


def describe(rows: Path, count: Count, windows: Windows | None) -> Description:
    """Describe the rows of a split.

    Args:
        rows: Parquet, as `splits` writes it.
        count: lengths of texts.
        windows: how contexts are cut; None: not at all.
    """
    import pyarrow.dataset as ds

    found = Description()
    columns = ["title", "question", "context", "answers"]
    for batch in ds.dataset(rows, format="parquet").to_batches(columns=columns):
        _add(found, batch.to_pylist(), count, windows)
    return found


def count_words(texts: Sequence[str]) -> list[int]:
    """A `Count` where there is no model to know what a token is."""
    return [len(text.split()) for text in texts]


def _add(
    found: Description, rows: Sequence[dict[str, Any]], count: Count, windows: Windows | None
) -> None:
    found.titles.update(row["title"] for row in rows)
    found.types.update(question_word(row["question"]) for row in rows)
    questions = count([row["question"] for row in rows])
    different = list({row["context"] for row in rows})
    contexts = dict(zip(different, count(different), strict=True))
    found.question.update(questions)
    found.context.update(contexts[row["context"]] for row in rows)
    found.answer.update(count([row["answers"][0]["text"] for row in rows if row["answers"]]))
    if windows is None:
        return
    for row, tokens in zip(rows, questions, strict=True):
        if tokens + contexts[row["context"]] + _PROMPT <= windows.max_tokens:
            continue
        made = windows.of(row["question"], row["context"])
        if len(made) > 1:
            found.windowed += 1
            found.windows += len(made)
            found.lost += sum(
                not any(window.holds(answer) for window in made) for answer in row["answers"]
            )
