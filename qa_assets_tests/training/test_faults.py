"""Trainings that are broken off, by kill -9, by time and by faults, and what goes on from them."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.examples import Scores
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training import checkpoint, trainer
from qa_assets.training.checkpoint import DivergedError, TrainingError
from qa_assets.training.config import TrainingConfig
from qa_assets.training.result import RESULT, TrainingResult
from qa_assets_tests.training.test_trainer import train
from qa_assets_tests.training_fixtures import CONFIG, inputs

_CHANGES: dict[str, Any] = {"epochs": 4, "evaluations": 3, "average_last": 2}


@pytest.fixture(scope="module")
def unbroken(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(base, data, tmp_path_factory.mktemp("unbroken"), _CHANGES)


def weights(result: TrainingResult) -> bytes:
    return (result.checkpoint / "model.safetensors").read_bytes()


def require_same(
    broken: TrainingResult, unbroken: TrainingResult, *, one_process: bool = True
) -> None:
    """Bit for bit in one process; another one's sums may be rounded in another order."""
    assert broken.steps == unbroken.steps
    assert broken.consumed == unbroken.consumed
    timed = {"examples_per_second", "tokens_per_second"}
    expected, actual = (
        [{key: value for key, value in point.items() if key not in timed} for point in points]
        for points in (
            [*unbroken.history, *unbroken.evaluations],
            [*broken.history, *broken.evaluations],
        )
    )
    for before, after in zip(expected, actual, strict=True):
        assert after == (before if one_process else pytest.approx(before, rel=1e-4))
    if one_process:
        assert weights(broken) == weights(unbroken)


def command(config: TrainingConfig, base: Path, data: Path, out: Path) -> list[str]:
    """The training as a process of its own, with a checkpoint at every step."""
    settings = out.parent / f"{out.name}.json"
    settings.write_text(json.dumps(config.model_dump()))
    return [
        sys.executable, "-m", "qa_assets.training", "--base", str(base),
        "--train", str(data / "train"), "--valid", str(data / "valid"), "--out", str(out),
        "--config", str(settings), "--set", "checkpoint_minutes=0",
    ]  # fmt: skip


@pytest.mark.timeout(360)
def test_killed_processes_are_gone_on_from(
    base: Path, data: Path, tmp_path: Path, unbroken: TrainingResult
) -> None:
    """Killed twice, at steps that a clock decides; the third process ends the training."""
    out = tmp_path / "out"
    run = command(CONFIG.model_copy(update=_CHANGES), base, data, out)
    reached: list[int] = []
    for more in (5, 11):
        process = subprocess.Popen(run, stderr=subprocess.DEVNULL)
        before = reached[-1] if reached else 0
        while not (step := steps_of(out)) or step < before + more:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(steps_of(out))
    assert 5 <= reached[0] < reached[1] < unbroken.steps
    log = subprocess.run(run, check=True, capture_output=True, text=True).stderr
    assert f"going on from step {reached[1]}" in log
    require_same(TrainingResult.read(out / RESULT), unbroken, one_process=False)
    assert {path.name for path in out.iterdir()} == {"checkpoint", RESULT, ".lock"}
    # once more it has nothing to do
    require_same(train(base, data, out, _CHANGES), unbroken, one_process=False)


def steps_of(out: Path) -> int:
    """The step of the last checkpoint."""
    found = checkpoint.checkpoints(out)
    return int(found[-1].name.split("-")[1]) if found else 0


def test_stops_in_time_and_goes_on(
    base: Path, data: Path, tmp_path: Path, unbroken: TrainingResult
) -> None:
    calls = 0
    while True:
        calls += 1
        result = train(base, data, tmp_path, _CHANGES, max_seconds=0.3)
        if result.finished:
            break
        assert checkpoint.checkpoints(tmp_path)
    assert calls > 1
    require_same(result, unbroken)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_adapters_and_optimisers_go_on(
    base: Path, data: Path, tmp_path: Path, optimizer: str
) -> None:
    changes = {"epochs": 1, "optimizer": optimizer, "lora_rank": 2}
    whole = train(base, data, tmp_path / "whole", changes)
    first = train(base, data, tmp_path / "broken", changes, max_seconds=0)
    assert first.steps == 1
    (last,) = checkpoint.checkpoints(tmp_path / "broken")
    size = sum(file.stat().st_size for file in last.iterdir())
    assert size < 0.2 * (whole.checkpoint / "model.safetensors").stat().st_size
    require_same(train(base, data, tmp_path / "broken", changes), whole)


def test_another_training_is_not_gone_on_from(base: Path, data: Path, tmp_path: Path) -> None:
    train(base, data, tmp_path, max_seconds=0)
    with pytest.raises(TrainingError, match=r"learning_rate: 0\.001 there, 0\.002 now"):
        train(base, data, tmp_path, {"learning_rate": 0.002})
    other = replace(inputs(base, data), task=QuestionAnswering(no_answer="none"))
    with pytest.raises(TrainingError, match=r"task: .*unavailable.*there.*none.*now.*train: "):
        trainer.train(CONFIG, other, tmp_path)
    # memory is no part of what is learnt from
    lean = train(base, data, tmp_path, {"max_batch_tokens": 300})
    assert lean.finished
    assert lean.consumed == train(base, data, tmp_path / "other").consumed


@contextmanager
def scoring(*f1: float) -> Iterator[None]:
    """Let evaluations score so, one after the other and the last for ever."""
    scores = [*f1]

    def score(*_: Any) -> Scores:
        return Scores({"f1": scores.pop(0) if len(scores) > 1 else scores[0]}, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuestionAnswering, "score", score)
        yield


def test_best_checkpoint_keeps_its_own_metrics(base: Path, data: Path, tmp_path: Path) -> None:
    """Killed after it was written and before the state was, and evaluated worse after that."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    def train(f1: float, **options: Any) -> TrainingResult:
        with scoring(f1):
            return trainer.train(config, inputs(base, data), tmp_path, **options)

    config = CONFIG.model_copy(update={"evaluations": 1})
    train(20, max_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        train(20, report=killed)
    result = train(10)
    assert [metrics["f1"] for metrics in result.evaluations] == [10]
    assert result.metrics["f1"] == 20
    assert json.loads((result.checkpoint / "eval_results.json").read_text()) == result.metrics


def test_what_a_killed_write_left_is_cleared(base: Path, data: Path, tmp_path: Path) -> None:
    whole = train(base, data, tmp_path / "whole")
    out = tmp_path / "out"
    train(base, data, out, max_seconds=0)
    (out / ".resume-3.unfinished").mkdir()
    (out / ".resume-3.unfinished" / "weights.safetensors").write_bytes(b"half")
    shutil.copytree(whole.checkpoint, out / ".checkpoint.old")
    train(base, data, out, max_seconds=0)
    assert weights(TrainingResult(out / "checkpoint")) == weights(whole)
    assert not [path for path in out.glob(".*") if path.name != ".lock"]


def test_two_at_once_are_not_let(base: Path, data: Path, tmp_path: Path) -> None:
    with checkpoint.only_one(tmp_path):
        monkey = pytest.MonkeyPatch()
        monkey.setattr(checkpoint, "_PATIENCE", 0)
        with monkey.context(), pytest.raises(TrainingError, match="another process"):
            train(base, data, tmp_path)
        monkey.undo()


def test_full_disk_keeps_the_last_checkpoint(
    base: Path, data: Path, tmp_path: Path, unbroken: TrainingResult
) -> None:
    """The operating system refuses files beyond a size, as a full disk would."""
    train(base, data, tmp_path, _CHANGES, max_seconds=0)
    (kept,) = checkpoint.checkpoints(tmp_path)
    size = (kept / "weights.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(TrainingError, match=f"no room.*make room.*goes on from {kept.name}"):
            train(base, data, tmp_path, _CHANGES, max_seconds=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.glob("*resume*")] == [kept.name]
    require_same(train(base, data, tmp_path, _CHANGES), unbroken)


def test_diverging_keeps_the_last_good_checkpoint(base: Path, data: Path, tmp_path: Path) -> None:
    import torch

    train(base, data, tmp_path, _CHANGES, max_seconds=0)
    (kept,) = checkpoint.checkpoints(tmp_path)
    step = torch.nn.utils.clip_grad_norm_

    def broken(parameters: list[Any], most: float) -> Any:
        parameters[0].grad.fill_(float("nan"))
        return step(parameters, most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
        with pytest.raises(DivergedError, match="gradient at step 2 is nan: lower the learning"):
            train(base, data, tmp_path, _CHANGES)
    assert checkpoint.checkpoints(tmp_path) == [kept]


def test_out_of_memory_names_the_remedy(base: Path, data: Path, tmp_path: Path) -> None:
    """What a step needs is more than any machine has: the allocator's own error."""
    import torch

    from qa_assets.models.t5 import training

    def large(*_: Any, **__: Any) -> Any:
        return torch.empty(2**45)

    train(base, data, tmp_path, _CHANGES, max_seconds=0)
    (kept,) = checkpoint.checkpoints(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.FastT5, "forward", large)
        with pytest.raises(TrainingError, match=r"out of memory at step 2: lower max_batch_tokens"):
            train(base, data, tmp_path, _CHANGES)
    assert checkpoint.checkpoints(tmp_path) == [kept]


def test_early_stopping_and_metric(base: Path, data: Path, tmp_path: Path) -> None:
    with scoring(10, 30, 20):
        result = train(base, data, tmp_path, {"evaluations": 10, "patience": 2})
    assert len(result.evaluations) == 4
    assert result.metrics["evaluation"] == 2
    assert result.steps < 27
