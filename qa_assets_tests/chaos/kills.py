"""Kills: each round's victim and moment, drawn from the seed; waiting for it; SIGKILL."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

VICTIMS = ("driver", "step", "broker", "driver and broker")
"""`driver`: Spark's JVM; `step`: the Python process that started it and runs foreachBatch."""
_MOMENTS = {
    "start": 1,  # while the session is made, or the model loaded
    "staging": 2,  # predicted, not in the table
    "rename": 3,  # in the table, not published
    "transaction": 4,  # while they are published, or just after
    "batch": 4,  # any time in a micro-batch
}
_LOOK_S = 0.001
_START_S = 5.0


@dataclass(frozen=True)
class Kill:
    """A victim and its moment."""

    victim: str
    moment: str
    batches: int
    """Micro-batches of the round before it."""
    delay_s: float


def draw(rng: random.Random) -> Kill:
    """The next kill."""
    moment = rng.choices(list(_MOMENTS), list(_MOMENTS.values()))[0]
    delay = {
        "start": rng.uniform(0, _START_S),
        "transaction": rng.uniform(0, 0.05),
        "batch": rng.uniform(0, 0.3),
    }
    victim = rng.choices(VICTIMS, (4, 4, 3, 1))[0]
    return Kill(victim, moment, rng.randrange(3), delay.get(moment, 0.0))


def wait_for(kill: Kill, step: psutil.Process, out: Path, topic_id: str) -> bool:
    """Wait for the moment; returns whether it came before the step had ended by itself."""
    table, staging = out / "table" / f"topic_id={topic_id}", out / topic_id / "staging"
    before = _entries(table)
    if kill.moment != "start":
        while True:
            if not _alive(step):
                return False
            new = _entries(table) - before
            if kill.moment == "staging":
                if len(new) >= kill.batches and _entries(staging):
                    break
            elif len(new) > kill.batches:
                break
            time.sleep(_LOOK_S)
    until = time.monotonic() + kill.delay_s
    while time.monotonic() < until:
        if not _alive(step):
            return False
        time.sleep(_LOOK_S)
    return _alive(step)


def execute(kill: Kill, step: psutil.Process, broker_pid: int) -> bool:
    """SIGKILL the victim, or both of them; returns whether there was one."""
    victims = []
    if "driver" in kill.victim:
        victims += [child for child in step.children(recursive=True) if "java" in child.name()]
    if kill.victim == "step":
        victims.append(step)
    if "broker" in kill.victim:
        victims.append(psutil.Process(broker_pid))
    killed = False
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
        killed = True
    return killed


def _entries(directory: Path) -> set[str]:
    try:
        return {entry.name for entry in directory.iterdir()}
    except FileNotFoundError:
        return set()


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
