"""Models side by side on the same questions: scores, and answers question by question."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.squad.metric import f1_each, score

SHOWN = ("exact", "f1", "HasAns_f1", "NoAns_f1")


@dataclass(frozen=True)
class Comparison:
    """Scores in percent by model, and a row a question with every model's answer."""

    scores: dict[str, dict[str, float]]
    rows: list[dict[str, Any]]

    def table(self) -> list[dict[str, Any]]:
        """A row a model, rounded, for people."""
        return [
            {"model": model} | {key: round(scores.get(key, float("nan")), 2) for key in SHOWN}
            for model, scores in self.scores.items()
        ]

    def errors(self, model: str, count: int = 30) -> list[dict[str, Any]]:
        """The questions on which `model` scores worst, in the order of the data."""
        worst = [row for row in self.rows if row[f"{model}_f1"] < 0.5]
        return [
            {
                "question": row["question"],
                "gold": " / ".join(row["references"]) or "(no answer)",
                "answer": row[model] or "(abstained)",
                "context": row["context"],
            }
            for row in worst[:count]
        ]

    def samples(self, model: str, count: int = 8) -> list[dict[str, Any]]:
        """A few questions with gold and answer, answerable and not."""
        half = count // 2
        chosen = [row for row in self.rows if row["references"]][:half]
        chosen += [row for row in self.rows if not row["references"]][:half]
        return [
            {
                "question": row["question"],
                "gold": " / ".join(row["references"]) or "(no answer)",
                "answer": row[model] or "(abstained)",
                "f1": round(row[f"{model}_f1"], 2),
            }
            for row in chosen
        ]


def read_split(
    path: Path, columns: Sequence[str], limit: int | None = None
) -> list[dict[str, Any]]:
    """Rows of a Parquet split, in its order; of more than `limit` a sample, always the same."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(columns))
    if limit is not None and limit < table.num_rows:
        table = table.take(sorted(random.Random(0).sample(range(table.num_rows), limit)))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def compare(
    questions: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[str]],
) -> Comparison:
    """Score what each model answered to the same questions.

    Args:
        questions: rows with at least `id, question, context, references`.
        answers: one text a question, "" to abstain, by model name.
    """
    references = [row["references"] for row in questions]
    rows = [
        {key: row[key] for key in ("id", "question", "context", "references")} for row in questions
    ]
    scores = {}
    for model, texts in answers.items():
        scores[model] = score(texts, references)
        for row, answer in zip(rows, texts, strict=True):
            row[model] = answer
            row[f"{model}_f1"] = f1_each(answer, row["references"])
    return Comparison(scores, rows)
