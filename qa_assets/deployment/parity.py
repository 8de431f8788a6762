"""Whether what serves answers as transformers does: what is asked, and how answers compare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qa_assets.evaluation.bootstrap import interval, resampled_sums
from qa_assets.models import base_model
from qa_assets.models.decoding import generate, to_answers
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets.tasks.question_answering.windows import Windows

FILE = "expected.parquet"
LEAST_EQUAL = 0.995
"""The share of answers that an engine must give as transformers does, in full precision."""
MOST_LOSS = 0.5
"""F1, in percent, that int8 may lose by all that the answers here can tell."""
_LONG_WORDS = 4_000  # some 5,000 tokens
_UNICODE = {
    "Кто написал «Войну и мир»?": "«Войну и мир» написал Лев Толстой — в 1869 году.",
    "誰が東京に住んでいますか?": "太郎は東京に住んでいます。花子は大阪です。",
    "Wer zahlte 3,20 €?": "Zoë Müller zahlte naïvement 3,20 € für ein ½ Stück ﬁne Café①.",
    "¿Quién comió 🍎?": "La niña 👩‍👧 comió una 🍎\u00a0roja\u200b; el niño, una\u3000🍌.",
    "مَنْ كَتَبَ الرسالة؟": "كتب أحمد الرسالة في القاهرة.",
}


def questions(rows: Sequence[dict[str, Any]], count: int, windows: Windows) -> list[dict[str, Any]]:
    """What to ask: as given, of other rows' contexts, and what is hard.

    Args:
        rows: of `question`, `context`, `references` and `title`.
        count: of questions that are not hard: each row's own, then with another's context.
        windows: what a long context becomes.

    Returns:
        Rows of `kind`, `source`, `references` (null: not known) and `title`.
    """
    step = max(1, len(rows) // count)
    given = list(rows[::step])[:count]
    asked = [_row("as given", row, row["context"], row["references"]) for row in given]
    others = [rows[(number + len(rows) // 2) % len(rows)] for number in range(len(rows))]
    asked += [
        _row("no answer", row, other["context"], [])
        for row, other in zip(rows, others, strict=True)
        if row["title"] != other["title"]
    ][: count - len(asked)]
    first = given[0]
    asked += [_row("empty context", first, context) for context in ("", "  \n\t")]
    asked += [
        _row("Unicode", {"question": question, "title": "Unicode"}, context)
        for question, context in _UNICODE.items()
    ]
    words = " ".join(row["context"] for row in rows).split()
    while len(words) < _LONG_WORDS:
        words *= 2
    long = windows.sources(first["question"], " ".join(words[:_LONG_WORDS]))
    return asked + [
        {"kind": "long context", "source": source, "references": None, "title": first["title"]}
        for source in long
    ]


def _row(
    kind: str, row: dict[str, Any], context: str, references: list[str] | None = None
) -> dict[str, Any]:
    source = source_text(row["question"], context)
    return {"kind": kind, "source": source, "references": references, "title": row["title"]}


def expect(
    model_dir: Path, asked: Sequence[dict[str, Any]], out: Path, *, null_text: str, **decoding: Any
) -> None:
    """Write `questions` with what transformers answers them in full precision as `answer`."""
    import pandas as pd

    model, tokenizer = base_model.load(model_dir)
    texts = generate(
        model, tokenizer, [row["source"] for row in asked], **(decoding | {"precision": "fp32"})
    )
    frame = pd.DataFrame(asked).assign(answer=to_answers(texts, null_text))
    frame.to_parquet(out / FILE, index=False)


def expected(directory: Path) -> list[dict[str, Any]]:
    """What `expect` wrote."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(directory / FILE).to_pylist()
    return rows


@dataclass(frozen=True)
class Parity:
    """How answers compare; the loss in F1, in percent, where references are known."""

    questions: int
    equal: int
    loss: float
    loss_interval: list[float]
    differing: list[dict[str, Any]]

    @property
    def same(self) -> bool:
        """Whether they are the same, as full precision must be."""
        return self.equal >= LEAST_EQUAL * self.questions

    @property
    def as_good(self) -> bool:
        """Whether nothing says that they lose more than `MOST_LOSS`, as int8 must not."""
        return self.loss_interval[0] <= MOST_LOSS


def compare(
    rows: Sequence[dict[str, Any]],
    answers: Sequence[str],
    score_each: Callable[[str, Sequence[str]], float],
) -> Parity:
    """Compare answers, "" where they abstain, with those of `expected` rows."""
    differing = [
        {"kind": row["kind"], "source": row["source"], "transformers": row["answer"], "here": said}
        for row, said in zip(rows, answers, strict=True)
        if row["answer"] != said
    ]
    known = [
        (row, said)
        for row, said in zip(rows, answers, strict=True)
        if row["references"] is not None
    ]
    loss, loss_interval = paired_loss(
        [row["title"] for row, _ in known],
        [score_each(row["answer"], row["references"]) for row, _ in known],
        [score_each(said, row["references"]) for row, said in known],
    )
    return Parity(
        questions=len(rows),
        equal=len(rows) - len(differing),
        loss=loss,
        loss_interval=loss_interval,
        differing=differing,
    )


def paired_loss(
    articles: Sequence[str], before: Sequence[float], after: Sequence[float]
) -> tuple[float, list[float]]:
    """The mean loss in F1, in percent, and its 95 % interval, articles drawn as wholes.

    Args:
        articles: of each question.
        before: F1 by question, from 0 to 1.
        after: the same of another model.
    """
    loss = 100 * (np.asarray(before) - np.asarray(after))
    sums = resampled_sums(articles, np.stack([loss, np.ones_like(loss)], axis=1))
    return float(loss.mean()), interval(sums[:, 0] / sums[:, 1])
