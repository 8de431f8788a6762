"""Where a training has come to, on disk: what it goes on from after it was broken off.

A checkpoint holds what changes and nothing else: the trained weights, the optimiser's tensors and
the position, as safetensors and JSON. Random numbers and the order of the data follow from seed
and step, and need not be kept.
"""

import fcntl
import json
import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core import files

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
_POSITION, _WEIGHTS, _OPTIMIZER = "position.json", "weights.safetensors", "optimizer.safetensors"
_NAME = re.compile(r"resume-(\d+)")
_PATIENCE = 60  # seconds for which another process may still be dying
_FULL = ("No space left", "File too large", "Disk quota exceeded")


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names the step and the remedy."""


class DivergedError(TrainingError):
    """A loss or a gradient that is not finite: with the same settings it would be so again."""


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        step: optimiser steps that were taken.
        seconds: they took, with what lay between them.
        consumed: SHA-256 chained over the examples of every step, in their order.
        losses: of the steps since the last point of the history.
        history: see `loop.TrainingResult`, like the rest.
        evaluations: metrics of each.
        metrics: of the best one.
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
    """Hold a directory, so that no other process trains into it meanwhile.

    Raises:
        TrainingError: another one does, and does not end within a minute.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TrainingError(f"{out}: another process trains there") from None
                time.sleep(0.2)
        yield


def save(
    out: Path,
    shape: dict[str, Any],
    position: Position,
    parameters: "dict[str, torch.nn.Parameter]",
    optimizer: "torch.optim.Optimizer",
) -> None:
    """Write a checkpoint beside the last one, which is then removed.

    Args:
        out: the training's directory.
        shape: all that the training depends on.
        position: where it has come to.
        parameters: the trained weights by name.
        optimizer: of those.

    Raises:
        TrainingError: there is no room; the last checkpoint is still there.
    """
    tensors = {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }
    path = out / f"resume-{position.step}"
    with room_for(path), files.replacing(path) as unfinished:
        unfinished.mkdir()
        write_tensors(dict(parameters), unfinished / _WEIGHTS)
        write_tensors(tensors, unfinished / _OPTIMIZER)
        (unfinished / _POSITION).write_text(
            json.dumps({"shape": shape, "position": asdict(position)}), encoding="utf-8"
        )
    for other in checkpoints(out):
        if other != path:
            shutil.rmtree(other)
    _log.info("checkpoint at step %d", position.step)


def restore(
    out: Path,
    shape: dict[str, Any],
    parameters: "dict[str, torch.nn.Parameter]",
    optimizer: "torch.optim.Optimizer",
) -> Position:
    """Go on from the last checkpoint: fill weights and optimiser; a new position if there is none.

    Raises:
        TrainingError: the checkpoint is of another training.
    """
    import torch

    found = checkpoints(out)
    if not found:
        return Position()
    path = found[-1]
    values = json.loads((path / _POSITION).read_text(encoding="utf-8"))
    require_same(path, values["shape"], shape)
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
    position = Position(**values["position"])
    _log.info("going on from step %d", position.step)
    return position


def require_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise `TrainingError` where a training's directory is of another one."""
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
    """The whole checkpoints in a training's directory, in order."""
    found = [path for path in out.glob("resume-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def clear(out: Path) -> None:
    """Remove what a training was to go on from."""
    for path in checkpoints(out):
        shutil.rmtree(path)


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Raise `TrainingError` where writing fails for want of room."""
    from safetensors import SafetensorError

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


def write_tensors(tensors: "dict[str, torch.Tensor]", path: Path) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    save_file({name: one.detach().contiguous() for name, one in tensors.items()}, path)


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Read what `write_tensors` wrote."""
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = load_file(path)
    return tensors
