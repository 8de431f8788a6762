"""The learning rate's schedules."""

from itertools import pairwise

import pytest

from qa_assets.training.config import TrainingConfig
from qa_assets.training.steps import learning_rate


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_learning_rate_rises_and_then_follows_its_schedule(schedule: str) -> None:
    config = TrainingConfig.model_validate(
        {"schedule": schedule, "learning_rate": 0.01, "warmup_steps": 10}
    )
    rates = [learning_rate(config, step, (step - 1) / 100) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.001)
    assert all(after > before for before, after in pairwise(rates[:10]))
    assert all(after <= before for before, after in pairwise(rates[10:]))
    middle, last = {
        "linear": (0.005, 0.0001),
        "cosine": (0.005, 0.01 * (1 - 0.99974) / 1),
        "constant": (0.01, 0.01),
    }[schedule]
    assert rates[50] == pytest.approx(middle)
    assert rates[-1] == pytest.approx(last, rel=0.1)
