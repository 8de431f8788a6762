"""Facts of a card."""

from typing import Any

from qa_assets.promotion.card import CardFacts
from qa_assets.tasks.question_answering.task import QuestionAnswering
from qa_assets_tests.promotion_bench import report


def facts_of(**changes: Any) -> CardFacts:
    """The facts of a model trained on SQuAD, with some of them changed."""
    facts: dict[str, Any] = {
        "task": QuestionAnswering(),
        "name": "someone/flan-t5-small-squad",
        "license": "cc-by-sa-4.0",
        "config": {"learning_rate": 3e-4, "max_source_tokens": 512, "max_target_tokens": 8},
        "data": {
            "base": "google/flan-t5-small",
            "raw_squad_source": "official",
            "train_split": "0123456789abcdef",
            "train_split_examples": 4000,
        },
        "valid": {"exact": 59.0, "f1": 61.0},
        "report": report(),
        "calibration": {
            "bias": 0.5, "temperature": 1.5, "rows": 500,
            "null_text": "unavailable", "held_out": {"gain": 1.25},
        },
        "data_version": "fedcba9876543210",
    }  # fmt: skip
    return CardFacts(**(facts | changes))
