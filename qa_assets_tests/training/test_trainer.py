"""A whole training, on the CPU."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from qa_assets.models import base_model
from qa_assets.training import trainer
from qa_assets.training.checkpoint import TrainingError
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets_tests.training_fixtures import CONFIG, inputs


def train(
    base: Path,
    data: Path,
    out: Path,
    changes: Mapping[str, object] | None = None,
    **options: object,
) -> TrainingResult:
    config = CONFIG.model_copy(update=changes or {})
    return trainer.train(config, inputs(base, data), out, **options)  # type: ignore[arg-type]


def test_loss_falls_and_the_checkpoint_is_the_best(base: Path, data: Path, tmp_path: Path) -> None:
    reports = []
    result = train(
        base, data, tmp_path / "out", report=lambda metrics, path: reports.append((metrics, path))
    )
    assert result.steps == 27  # 3 epochs of 180 rows, about 20 in 700 tokens
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    assert [point["step"] for point in result.history] == list(range(1, 28))
    assert [metrics["step"] for metrics, _ in reports] == [14, 27]
    assert result.metrics["f1"] == max(metrics["f1"] for metrics, _ in reports)
    assert result.checkpoint == tmp_path / "out" / "checkpoint" == reports[0][1]
    assert {"config.json", "model.safetensors", "spiece.model"} <= {
        path.name for path in result.checkpoint.iterdir()
    }
    base_model.load(result.checkpoint)
    assert TrainingResult.read(tmp_path / "out" / RESULT) == result


def test_same_seed_same_weights(base: Path, data: Path, tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        changes = {"epochs": 1, "evaluations": 1, "seed": seed}
        result = train(base, data, tmp_path / name, changes)
        return (result.checkpoint / "model.safetensors").read_bytes()

    first = weights("first", 1)
    assert first == weights("again", 1)
    assert first != weights("other", 2)


def test_a_batch_in_parts_is_the_same_step(base: Path, data: Path, tmp_path: Path) -> None:
    model, tokenizer = base_model.load(base)
    model.config.dropout_rate = 0.0  # it would draw otherwise in parts
    steady = base_model.save(model, tokenizer, tmp_path / "steady")
    whole, parts = (
        train(steady, data, tmp_path / str(limit), {"epochs": 1, "max_batch_tokens": limit})
        for limit in (100_000, 150)
    )
    losses = [[point["loss"] for point in result.history] for result in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_stops_when_asked_with_a_last_evaluation(base: Path, data: Path, tmp_path: Path) -> None:
    asked = iter([False, False, True])
    result = train(base, data, tmp_path / "out", stop=lambda: next(asked))
    assert result.steps == 3
    assert len(result.evaluations) == 1


def test_stops_in_time(base: Path, data: Path, tmp_path: Path) -> None:
    changes = {"epochs": 10_000, "max_minutes": 0.02, "evaluations": 1}
    result = train(base, data, tmp_path / "out", changes)
    assert 1 <= result.steps < 12 * 10_000
    assert 1.2 <= result.seconds < 30


def test_limit_of_examples(base: Path, data: Path, tmp_path: Path) -> None:
    result = train(base, data, tmp_path / "out", {"epochs": 1}, train_limit=40)
    assert result.steps == 2


def test_broken_weights_name_the_step(base: Path, data: Path, tmp_path: Path) -> None:
    import torch

    model, tokenizer = base_model.load(base)
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    broken = base_model.save(model, tokenizer, tmp_path / "broken")
    with pytest.raises(TrainingError, match="step 1 is nan"):
        train(broken, data, tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_starts_from_a_checkpoint(base: Path, data: Path, tmp_path: Path) -> None:
    """What was saved can be trained on, from another place."""
    first = train(base, data, tmp_path / "first", {"epochs": 1, "evaluations": 1})
    moved = tmp_path / "moved"
    shutil.move(first.checkpoint, moved)
    second = train(moved, data, tmp_path / "second", {"epochs": 1, "evaluations": 1})
    assert second.history[-1]["loss"] < first.history[0]["loss"]
    assert json.loads((second.checkpoint / "config.json").read_text())["model_type"] == "t5"
