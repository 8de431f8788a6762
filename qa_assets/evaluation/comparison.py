"""Models side by side on the same questions: scores, and answers question by question."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qa_assets.tasks.question_answering.metric import exact_each, f1_each, summarize

SHOWN = ("exact", "f1", "HasAns_f1", "NoAns_f1")

RIGHT, PARTLY, WRONG = "right", "partly right", "wrong answer"
MISSED, INVENTED = "abstained wrongly", "answered wrongly"
VERDICTS = (RIGHT, PARTLY, WRONG, MISSED, INVENTED)


@dataclass(frozen=True)
class Comparison:
    """Scores in percent by model, and a row a question with every model's answer.

    Of each model a row has the answer under its name, and `<model>_exact`, `<model>_f1` (0 to 1)
    and, where it is known, `<model>_confidence`.
    """

    scores: dict[str, dict[str, float]]
    rows: list[dict[str, Any]]

    def column(self, model: str, what: str) -> list[float]:
        """A model's `exact`, `f1` or `confidence` of every question; empty where not known."""
        key = f"{model}_{what}"
        return [row[key] for row in self.rows if key in row]

    def table(self) -> list[dict[str, Any]]:
        """A row a model, rounded, for people."""
        return [
            {"model": model} | {key: round(scores.get(key, float("nan")), 2) for key in SHOWN}
            for model, scores in self.scores.items()
        ]

    def worst(self, model: str, count: int = 50) -> list[dict[str, Any]]:
        """The rows of a model's worst errors: the surest first, else spread over the data."""
        wrong = sorted(
            (row for row in self.rows if row[f"{model}_f1"] < 1), key=lambda row: row[f"{model}_f1"]
        )
        if self.column(model, "confidence"):
            wrong.sort(key=lambda row: row[f"{model}_confidence"] * (row[f"{model}_f1"] - 1))
            return wrong[:count]
        zeros = [row for row in wrong if row[f"{model}_f1"] == 0]
        if len(zeros) <= count:
            return wrong[:count]
        return [zeros[len(zeros) * number // count] for number in range(count)]

    def errors(self, model: str, count: int = 30) -> list[dict[str, Any]]:
        """The worst errors of a model, for people."""
        return [
            {
                "question": row["question"],
                "gold": " / ".join(row["references"]) or "(no answer)",
                "answer": row[model] or "(abstained)",
                "context": row["context"],
            }
            for row in self.worst(model, count)
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


def verdict(row: Mapping[str, Any], model: str) -> str:
    """What became of one question, one of `VERDICTS`."""
    f1: float = row[f"{model}_f1"]
    if f1 > 0:
        return RIGHT if f1 == 1 else PARTLY
    if not row["references"]:
        return INVENTED
    return WRONG if row[model] else MISSED


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
    confidences: Mapping[str, Sequence[float]] | None = None,
) -> Comparison:
    """Score what each model answered to the same questions.

    Args:
        questions: rows with at least `id, question, context, references`; `title` if it is known.
        answers: one text a question, "" to abstain, by model name.
        confidences: how sure a model is of each answer, from 0 to 1, by model name.
    """
    kept = ("id", "title", "question", "context", "references")
    rows = [{key: row[key] for key in kept if key in row} for row in questions]
    answerable = [bool(row["references"]) for row in rows]
    scores: dict[str, dict[str, float]] = {}
    result = Comparison(scores, rows)
    for model, texts in answers.items():
        for row, answer in zip(rows, texts, strict=True):
            row[model] = answer
            row[f"{model}_exact"] = exact_each(answer, row["references"])
            row[f"{model}_f1"] = f1_each(answer, row["references"])
        for row, confidence in zip(rows, (confidences or {}).get(model, ()), strict=False):
            row[f"{model}_confidence"] = confidence
        scores[model] = summarize(
            [row[f"{model}_exact"] for row in rows],
            [row[f"{model}_f1"] for row in rows],
            answerable,
        )
    return result
