"""The learning rate's schedules, and optimisers."""

from itertools import pairwise

import pytest

from qa_assets.training.config import TrainingConfig
from qa_assets.training.step import learning_rates, make_optimizer


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_learning_rate_rises_and_then_follows_its_schedule(schedule: str, optimizer: str) -> None:
    import torch

    config = TrainingConfig.model_validate(
        {"schedule": schedule, "optimizer": optimizer, "learning_rate": 0.01, "warmup_steps": 10}
    )
    made = make_optimizer(config, [torch.nn.Parameter(torch.ones(2, 2))])
    assert type(made).__name__.lower() == optimizer
    rate = learning_rates(config, made, 110)
    rates = [rate(step) for step in range(1, 111)]
    assert rates[0] == pytest.approx(0.001)
    assert all(after > before for before, after in pairwise(rates[:10]))
    assert all(after <= before for before, after in pairwise(rates[10:]))
    middle = {"linear": 0.005, "cosine": 0.005, "constant": 0.01}[schedule]
    assert rates[59] == pytest.approx(middle)
    assert rates[-1] == pytest.approx(0.01 if schedule == "constant" else 0.0, abs=1e-9)
