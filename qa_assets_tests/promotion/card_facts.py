"""A card of a model trained on SQuAD."""

import json
from pathlib import Path
from typing import Any

from qa_assets.core.artifacts import Artifact
from qa_assets.promotion.card import CardWriter
from qa_assets.tasks.question_answering.task import QuestionAnswering
from qa_assets_tests.promotion_bench import report


def write_card(home: Path, **changes: Any) -> str:
    """Write the card of a candidate in `home`, with some of its facts changed; returns its text."""
    facts: dict[str, Any] = {
        "name": "someone/flan-t5-small-squad",
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
    } | changes  # fmt: skip
    calibration = home / "calibration.json"
    calibration.unlink(missing_ok=True)
    if facts["calibration"]:
        calibration.write_text(json.dumps(facts["calibration"]))
    candidate = Artifact("best_model", home, "fedcba9876543210", facts, {})
    card = home / "README.md"
    CardWriter(QuestionAnswering(), facts["name"], "cc-by-sa-4.0").write(
        card, candidate, facts["report"]
    )
    return card.read_text()
