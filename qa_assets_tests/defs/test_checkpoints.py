"""The launchpad of `checkpoints`, and where its trials lie until they are whole."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.defs.assets.training import TrainingOverrides, _work
from qa_assets.settings import load_settings
from qa_assets.training.config import RECIPE, SearchSpace, TrainingConfig


def test_empty_config_is_the_profile() -> None:
    settings = load_settings(profile="squad")
    assert TrainingOverrides().resolve(settings) == (settings.training, 1, SearchSpace())


def test_overrides_and_space_are_taken() -> None:
    config = TrainingOverrides.model_validate(
        {"trials": 4, "optimizer": "adafactor", "space": {"learning_rate": [0.001, 0.01]}}
    )
    training, trials, space = config.resolve(load_settings(profile="squad"))
    assert (training.optimizer, trials) == ("adafactor", 4)
    assert space == SearchSpace(learning_rate=(0.001, 0.01))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"optimizer": "sgd"}, "optimizer: .*adamw"),
        ({"learning_rate": -1.0}, "learning_rate: "),
        ({"space": {"learning_rate": [0.1, 0.01]}}, r"0 < 0\.1 <= 0\.01"),
        ({"space": {"schedule": ["steep"]}}, "schedule.0: "),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(dg.Failure, match=reason):
        TrainingOverrides.model_validate(given).resolve(load_settings())


def test_recipe_fits_the_launchpad() -> None:
    given = RECIPE.model_dump(exclude_defaults=True)
    training, *_ = TrainingOverrides.model_validate(given).resolve(load_settings(profile="squad"))
    assert training == RECIPE


def test_trials_lie_by_what_shapes_them(tmp_path: Path) -> None:
    store, settings = ArtifactStore(tmp_path), load_settings()

    def work(version: str = "a", trials: int = 1, **changes: Any) -> Path:
        train, valid = (Artifact(name, tmp_path, version, {}, {}) for name in ("train", "valid"))
        config = TrainingConfig(**changes)
        return _work(store, settings, train, valid, config, trials, SearchSpace())

    assert work() == work()
    assert len({work(), work("b"), work(trials=2), work(seed=3)}) == 4
    assert work().name.startswith(".draft-")  # which `prune` removes if it is abandoned
