"""Models side by side on the same questions: scores, and answers question by question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.squad.metric import f1_each, score
from qa_assets.squad.prompts import answer_text

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
    """Rows of a Parquet split, in its order (sorted by id)."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(columns))
    rows: list[dict[str, Any]] = table.slice(0, limit).to_pylist()
    return rows


def compare(
    questions: Sequence[Mapping[str, Any]],
    generated: Mapping[str, Sequence[str]],
    no_answer: str,
) -> Comparison:
    """Score what each model generated for the same questions.

    Args:
        questions: rows with at least `id, question, context, references`.
        generated: one text a question, by model name.
        no_answer: what a model says to abstain.
    """
    references = [row["references"] for row in questions]
    rows = [
        {key: row[key] for key in ("id", "question", "context", "references")} for row in questions
    ]
    scores = {}
    for model, texts in generated.items():
        answers = [answer_text(text, no_answer) for text in texts]
        scores[model] = score(answers, references)
        for row, answer in zip(rows, answers, strict=True):
            row[model] = answer
            row[f"{model}_f1"] = f1_each(answer, row["references"])
    return Comparison(scores, rows)
