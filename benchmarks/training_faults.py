"""kill -9 of Ray's worker and of the Dagster step that drives Ray, and what comes after.

    python benchmarks/training_faults.py

Materialises `checkpoints` of `quickstart` on generated questions: once with the worker killed and
then the step, followed by a run that is let be; once unbroken; and once more the same training by
itself, in a plain process without Ray. The next lines compare the three. Last, a search of three
trials is broken off while the second trains, and resumed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

_CHANGES = {"epochs": 6.0, "max_minutes": None, "checkpoint_minutes": 0.02}


def materialise(home: Path, trials: int) -> bool:
    """The Dagster step: `checkpoints`, and before the first time the splits."""
    import dagster as dg

    from qa_assets.components.pipeline import Pipeline
    from qa_assets.definitions import pipelines
    from qa_assets.tasks.question_answering import TASK
    from qa_assets_tests import pipelines as tested
    from qa_assets_tests.splits import write_split

    config = pipelines()["quickstart"]
    training = config.training.model_copy(update=_CHANGES)
    search = config.search.model_copy(update={"trials": trials})
    config = config.model_copy(update={"training": training, "search": search})
    location, settings = tested.definitions(home, config)
    store = Pipeline(tested.NAME, config).store(settings)
    if store.find("train_split") is None:
        files = TASK().generate(home, 2000, seed=13)
        for name, file in zip(("train_split", "valid_split"), files, strict=True):
            write_split(store, name, TASK().read_examples(file))
    with dg.DagsterInstance.ephemeral() as instance:
        return tested.materialise(location, instance, "checkpoints").success


class Run:
    """Runs of the step in a home of their own, which show where their trials stand."""

    def __init__(self, home: Path, trials: int = 1) -> None:
        self.home, self.trials = home, trials
        self.artifacts = home / "artifacts" / "tried"
        self.checkpoints = self.artifacts / "checkpoints"
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir()

    def start(self) -> "subprocess.Popen[bytes]":
        """The step as a process of its own."""
        command = [sys.executable, __file__, "--home", str(self.home)]
        command += ["--trials", str(self.trials)]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        return self.process

    def finish(self) -> None:
        """Run the step to its end."""
        if self.start().wait():
            self._fail()

    def step(self) -> int:
        """The optimiser step of the last checkpoint."""
        paths = self.checkpoints.glob(".draft-*/trials/*/resume-*")
        return max((int(path.name.split("-")[1]) for path in paths), default=0)

    def wait_for_steps(self, steps: int) -> float:
        """Wait until so many steps further are in a checkpoint; returns the seconds."""
        first, started = self.step(), time.monotonic()
        self.wait_until(lambda: self.step() >= first + steps)
        return time.monotonic() - started

    def wait_until(self, is_met: Callable[[], bool]) -> None:
        """Wait for a condition as long as the step runs."""
        while not is_met():
            if self.process is None or self.process.poll() is not None:
                self._fail()
            time.sleep(0.05)

    def _fail(self) -> None:
        sys.exit((self.home / "log").read_text()[-3000:])


def break_training(home: Path) -> None:
    """Kill worker and step of a single trial, and compare with an unbroken and a plain training."""
    broken, whole, plain = Run(home / "broken"), Run(home / "whole"), home / "plain" / "trial"
    process = broken.start()
    broken.wait_for_steps(30)
    killed_at = broken.step()
    for worker in _workers(process):
        worker.kill()
    seconds = broken.wait_for_steps(30)
    print(f"worker killed at step {killed_at}, 30 steps further {seconds:.0f} s later", flush=True)
    rays = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    killed_at, started = broken.step(), time.monotonic()
    _, alive = psutil.wait_procs(rays, timeout=180)
    seconds = time.monotonic() - started
    names = [ray.name() for ray in alive if ray.status() != psutil.STATUS_ZOMBIE]
    print(f"step killed at step {killed_at}, {seconds:.1f} s later {len(names)} of its "
          f"{len(rays)} processes of Ray are left {' '.join(names)}", flush=True)  # fmt: skip
    broken.finish()
    whole.finish()
    train_alone(whole, plain)
    unbroken = None
    for name, place in ("unbroken", _trial(whole)), ("broken", _trial(broken)), ("plain", plain):
        result = json.loads((place / "training.json").read_text())
        weights = (place / "checkpoint/model.safetensors").read_bytes()
        unbroken = unbroken or weights
        print(f"{name}: {result['steps']} steps, consumed {result['consumed']}, weights as "
              f"unbroken bit for bit: {weights == unbroken}")  # fmt: skip
    left = list(broken.checkpoints.glob(".draft-*/trials"))
    print(f"trials left behind: {len(left)}")


def _workers(step: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The workers of Ray Train that a step has started."""
    return [
        process
        for process in psutil.Process(step.pid).children(recursive=True)
        if any("RayTrainWorker" in part for part in process.cmdline())
    ]


def _trial(run: Run) -> Path:
    """The trial of a finished run."""
    return next((run.checkpoints / "latest/trials").iterdir())


def train_alone(run: Run, out: Path) -> None:
    """The same training as that of a finished run, without Ray."""
    checkpoints = run.checkpoints / "latest"
    info = json.loads((checkpoints / "manifest.json").read_text())["info"]
    config = run.home / "config.json"
    config.write_text(json.dumps(info["config"]))
    out.mkdir(parents=True)
    train, valid = (run.artifacts / f"{name}_split/latest/rows" for name in ("train", "valid"))
    command: list[str | Path] = [sys.executable, "-m", "qa_assets.training"]
    command += ["--config", config, "--out", out]
    command += ["--base", checkpoints / "base", "--train", train, "--valid", valid]
    subprocess.run(command, check=True)


def break_search(home: Path) -> None:
    """Kill the step while the second of three trials trains."""
    run = Run(home / "search", trials=3)
    process = run.start()
    run.wait_until(lambda: any(run.checkpoints.glob(".draft-*/trials/trial_00001/resume-*")))
    process.kill()
    process.wait()
    (first,) = run.checkpoints.glob(".draft-*/trials/trial_00000/training.json")
    before, killed_at = first.read_bytes(), run.step()
    written = first.stat().st_mtime_ns
    run.finish()
    trials = run.checkpoints / "latest/trials"
    again = trials / "trial_00000/training.json"
    same = again.read_bytes() == before and again.stat().st_mtime_ns == written
    print(f"search broken off at step {killed_at} of its second trial; the first was kept: {same}")
    for path in sorted(trials.glob("*/training.json")):
        print(f"{path.parent.name}: {json.loads(path.read_text())['steps']} steps")


def main() -> None:
    """Kill, resume, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="materialise here (internal)")
    parser.add_argument("--trials", type=int, default=1, help="of that run")
    args = parser.parse_args()
    if args.home:
        sys.exit(not materialise(args.home, args.trials))
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as directory:
        break_training(Path(directory))
        break_search(Path(directory))


if __name__ == "__main__":
    main()
