"""The metric of `metric.py` as a module of Hugging Face's `evaluate`, needing no hub.

Same inputs and output names as `evaluate.load("squad_v2")`. Importing this imports `evaluate`.
"""

from typing import Any

import datasets
import evaluate

from qa_assets.squad.metric import score

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
                {
                    "text": datasets.Value("string"),
                    "answer_start": datasets.Value("int32"),
                }
            ),
        },
    }
)


class SquadV2(evaluate.Metric):  # type: ignore[misc]
    """Exact match and F1 of SQuAD 2.0; `no_answer_threshold` turns likely abstentions into ""."""

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
        unknown = [row["id"] for row in predictions if row["id"] not in gold]
        if unknown:
            raise ValueError(f"{len(unknown)} predictions without a question, first {unknown[0]!r}")
        texts = [
            "" if row["no_answer_probability"] > no_answer_threshold else row["prediction_text"]
            for row in predictions
        ]
        return score(texts, [gold[row["id"]] for row in predictions])
