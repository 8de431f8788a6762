"""The metric of `metric.py` as a module of Hugging Face's `evaluate`, needing no hub.

Same inputs and output names as `evaluate.load("squad_v2")`. Importing this imports `evaluate`.
"""

from typing import Any

import datasets
import evaluate

from qa_assets.tasks.question_answering.metric import score

_FEATURES = datasets.Features(
    {
        "predictions": {
            "id": datasets.Value("string"),
            "prediction_text": datasets.Value("string"),
            "no_answer_probability": datasets.Value("float32"),
        },
        "references": {
            "id": datasets.Value("string"),
            "answers": datasets.features.Sequence(
                {"text": datasets.Value("string"), "answer_start": datasets.Value("int32")}
            ),
        },
    }
)


class SquadV2(evaluate.Metric):  # type: ignore[misc]
    """Exact match and F1 of SQuAD 2.0, and the best that any threshold would give.

    The thresholds are on `no_answer_probability`; `no_answer_threshold` is that of the scores that
    are not called best.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Exact match and F1 of the official SQuAD 2.0 evaluation.",
            citation="Rajpurkar, Jia and Liang (2018): Know What You Don't Know.",
            features=_FEATURES,
        )

    def _compute(
        self,
        predictions: list[dict[str, Any]],
        references: list[dict[str, Any]],
        no_answer_threshold: float = 1.0,
    ) -> dict[str, float]:
        gold = {row["id"]: row["answers"]["text"] for row in references}
        predicted = {row["id"]: row for row in predictions}
        unknown = [key for key in predicted if key not in gold]
        missing = [key for key in gold if key not in predicted]
        if unknown or missing:
            raise ValueError(
                f"{len(unknown)} predictions without a question, {len(missing)} questions without"
                f" a prediction, first {(unknown or missing)[0]!r}"
            )
        return score(
            [predicted[key]["prediction_text"] for key in gold],
            list(gold.values()),
            [predicted[key]["no_answer_probability"] for key in gold],
            no_answer_threshold,
        )
