"""The candidate as Dagster makes it of trials and valid questions."""

import json
from pathlib import Path

import dagster as dg
import pytest

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.core.examples import Example
from qa_assets.models import tiny_t5
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training.config import TrainingConfig
from qa_assets_tests import pipelines
from qa_assets_tests.splits import write_split

_CONFIG = TrainingConfig(max_target_tokens=8, precision="fp32", eval_batch_size=16)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """Two trials and twelve valid questions on three articles, a half of them unanswerable."""
    made = ArtifactStore(tmp_path / "artifacts" / pipelines.NAME)
    task = QuestionAnswering()
    examples = [
        Example(
            str(number),
            f"article {number % 3}",
            {
                "question": f"Who saw number {number}?",
                "context": f"Rollo saw number {number}.",
            },
            ["Rollo"] if number % 2 else [],
        )
        for number in range(12)
    ]
    with made.write("raw_squad") as raw:
        raw.info["source"] = "generated"
    with made.write("train_split", raw.done()) as train:
        train.info |= {"examples": 40, "answerable": 30}
    valid = write_split(made, "valid_split", examples, raw.done())
    texts = [task.prompts(example)[0].source for example in examples] * 3
    with made.write("checkpoints", train.done(), valid) as draft:
        tiny_t5.create(texts, draft.path / "base", ["unavailable"], seed=0)
        trials = []
        for number, f1 in enumerate((10.0, 20.0)):
            tiny_t5.create(texts, draft.path / f"trial_{number}", ["unavailable"], seed=number)
            drawn = {"learning_rate": 0.01 * (number + 1)}
            trials.append(
                {"name": f"trial_{number}", "path": f"trial_{number}", "score": f1, "config": drawn}
            )
        draft.info |= {
            "base": "tiny",
            "task": task.spec(),
            "config": _CONFIG.model_dump(),
            "trials": trials,
        }
    return made


def test_candidate_is_the_best_trial_calibrated(store: ArtifactStore, tmp_path: Path) -> None:
    location, _ = pipelines.definitions(tmp_path, pipelines.configured())
    with dg.instance_for_test() as instance:
        result = pipelines.materialise(location, instance, "best_model")
    made = store.latest("best_model")
    assert made.info["chosen"] == "trial_1"
    assert made.info["config"]["learning_rate"] == 0.02
    assert made.info["config"]["max_target_tokens"] == 8
    data = made.info["data"]
    assert data["train_split"] == store.latest("train_split").data_version
    assert [data["train_split_examples"], data["raw_squad_source"]] == [40, "generated"]
    weights = store.latest("checkpoints").path / "trial_1" / "model.safetensors"
    assert (made.path / "model.safetensors").read_bytes() == weights.read_bytes()
    calibrated = json.loads((made.path / "calibration.json").read_text())
    assert len(calibrated["folds"]) == 3
    assert calibrated["rows"] == 12
    (event,) = result.asset_materializations_for_node("tried__best_model")
    assert event.metadata["abstention_bias"].value == calibrated["bias"]
    assert event.metadata["held_out_gain"].value == calibrated["held_out"]["gain"]
    assert "data:image/png" in str(event.metadata["risk_coverage"].value)
