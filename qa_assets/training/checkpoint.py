"""Checkpoints that an interrupted training resumes from, and the lock of its directory.

A checkpoint holds what changes: the trained weights, the optimiser's tensors and the trainer's
state, as safetensors and JSON. Random numbers and the order of the data follow from seed and step.
The best model, a Hugging Face directory, is written by `validation`.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qa_assets.core import files

logger = logging.getLogger(__name__)
_STATE, _WEIGHTS, _OPTIMIZER = "state.json", "weights.safetensors", "optimizer.safetensors"
_NAME = re.compile(r"resume-(\d+)")
_PATIENCE = 60  # seconds to wait for another process
_FULL = ("No space left", "File too large", "Disk quota exceeded")


class TrainingError(RuntimeError):
    """A training that cannot continue; the message names the step and the remedy."""


class DivergedError(TrainingError):
    """A loss or a gradient that is not finite; with the same settings it will be so again."""


@dataclass
class TrainerState:
    """How far a training has come.

    Attributes:
        step: optimiser steps taken.
        seconds: of the whole training, evaluations included.
        consumed: SHA-256 chained over the prompts of every step, in their order.
        losses: of the steps since the last point of the history.
        history: see `result.TrainingResult`, like the rest.
        evaluations: metrics of every evaluation.
        metrics: of the best evaluation.
    """

    step: int = 0
    seconds: float = 0.0
    consumed: str = ""
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Lock a directory for the training of this process.

    Raises:
        TrainingError: another process holds it for a minute.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock", timeout=_PATIENCE, poll_interval=0.2)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(f"{out}: another process trains there") from None
    try:
        yield
    finally:
        lock.release()


def save(
    out: Path,
    fingerprint: dict[str, Any],
    state: TrainerState,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint, then remove the one before.

    Raises:
        TrainingError: there is no room; the last checkpoint is still there.
    """
    tensors = {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }
    path = out / f"resume-{state.step}"
    with room_for(path), files.replacing(path) as unfinished:
        unfinished.mkdir()
        write_tensors(dict(parameters), unfinished / _WEIGHTS)
        write_tensors(tensors, unfinished / _OPTIMIZER)
        (unfinished / _STATE).write_text(
            json.dumps({"fingerprint": fingerprint, "state": asdict(state)}), encoding="utf-8"
        )
    for other in checkpoints(out):
        if other != path:
            shutil.rmtree(other)
    logger.info("checkpoint at step %d", state.step)


def restore(
    out: Path,
    fingerprint: dict[str, Any],
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> TrainerState:
    """Load weights and optimiser from the last checkpoint, if there is one; returns the state.

    Raises:
        TrainingError: the checkpoint is of another training.
    """
    paths = checkpoints(out)
    if not paths:
        return TrainerState()
    path = paths[-1]
    content = json.loads((path / _STATE).read_text(encoding="utf-8"))
    require_same(path, content["fingerprint"], fingerprint)
    weights, tensors = read_tensors(path / _WEIGHTS), read_tensors(path / _OPTIMIZER)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
            prefix = f"{name}/"
            optimizer.state[parameter] = {
                key.removeprefix(prefix): value.to(parameter.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
    state = TrainerState(**content["state"])
    logger.info("going on from step %d", state.step)
    return state


def require_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise `TrainingError` where two fingerprints differ: the directory is of another training."""
    changed = [
        f"{name}: {before.get(name)!r} there, {now.get(name)!r} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise TrainingError(
            f"{path} is of another training ({'; '.join(changed)}): name another directory, or "
            "remove it"
        )


def checkpoints(out: Path) -> list[Path]:
    """The complete checkpoints in a training's directory, in order."""
    paths = [path for path in out.glob("resume-*") if _NAME.fullmatch(path.name)]
    return sorted(paths, key=lambda path: int(path.name.split("-")[1]))


def clear(out: Path) -> None:
    """Remove all checkpoints of a training."""
    for path in checkpoints(out):
        shutil.rmtree(path)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Raise `TrainingError` where writing fails because the disk is full."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not any(text in str(error) for text in _FULL):
            raise
        last = checkpoints(path.parent)
        kept = f"training goes on from {last[-1].name}" if last else "there was none before"
        raise TrainingError(
            f"{path}: no room to write it ({error}): make room, or set QA_ASSETS_HOME to a larger "
            f"disk; {kept}"
        ) from error


def write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors."""
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read what `write_tensors` wrote."""
    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors
