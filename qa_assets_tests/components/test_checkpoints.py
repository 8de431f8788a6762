"""The launchpad of `checkpoints`, and where its trials lie until they are whole."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from qa_assets.components.training import TrainingOverrides, work_directory
from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.definitions import pipelines as shipped
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training.config import SearchSpace, TrainingConfig
from qa_assets_tests.pipelines import pipeline


def test_empty_config_is_the_pipeline() -> None:
    tried = pipeline()
    assert TrainingOverrides().resolve(tried) == (tried.config.training, 1, SearchSpace())


def test_overrides_and_space_are_taken() -> None:
    config = TrainingOverrides.model_validate(
        {"trials": 4, "optimizer": "adafactor", "space": {"learning_rate": [0.001, 0.01]}}
    )
    training, trials, space = config.resolve(pipeline())
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
        TrainingOverrides.model_validate(given).resolve(pipeline())


def test_recipe_fits_the_launchpad() -> None:
    recipe = shipped()["squad"].full_training
    assert recipe is not None
    given = recipe.model_dump(mode="json", exclude_defaults=True)
    training, *_ = TrainingOverrides.model_validate(given).resolve(pipeline())
    assert training == recipe


def test_trials_lie_by_what_shapes_them(tmp_path: Path) -> None:
    def work(version: str = "a", trials: int = 1, **changes: Any) -> Path:
        train, valid = (Artifact(name, tmp_path, version, {}, {}) for name in ("train", "valid"))
        config, space = TrainingConfig(**changes), SearchSpace()
        task, store = QuestionAnswering(), ArtifactStore(tmp_path)
        return work_directory(store, train, valid, config, trials, space, "tiny", task)

    assert work() == work()
    assert len({work(), work("b"), work(trials=2), work(seed=3)}) == 4
    assert work().name.startswith(".draft-")  # which `prune` removes if it is abandoned
