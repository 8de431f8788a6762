"""kill -9 of Ray's worker and of the Dagster step that drives Ray, and what comes after.

    python benchmarks/training_faults.py

Materialises `checkpoints` on the generated questions: once with the worker killed and then the
step, followed by a run that is let be; once unbroken; and once more the same training by itself, in
a plain process without Ray. The next lines compare the three. Last, a search of three trials is
broken off while the second trains, and gone on with.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from qa_assets.tasks.question_answering.generated import generate
from qa_assets_tests.training_fixtures import make_rows, write_rows

_STEP = """
import sys
import dagster as dg
from pathlib import Path
from shutil import copytree
from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.assets.training import checkpoints
from qa_assets.settings import load_settings

rows, home = map(Path, sys.argv[1:3])
settings = load_settings(profile="quickstart", home=home)
changes = {"epochs": 6.0, "max_minutes": None, "checkpoint_minutes": 0.02}
training = settings.training.model_copy(update=changes)
ray = settings.ray.model_copy(update={"trials": int(sys.argv[3])})
settings = settings.model_copy(update={"training": training, "ray": ray})
store = ArtifactStore(settings.artifacts)
for name in ("train", "valid"):
    if store.find(f"{name}_split") is None:
        with store.write(f"{name}_split") as draft:
            copytree(rows / name, draft.path / "rows")
dg.materialize([checkpoints], resources={"settings": settings, "store": store})
"""


_PLAIN = """
import json
import sys
from pathlib import Path
from qa_assets.tasks.question_answering import metric
from qa_assets.training import loop
from qa_assets.training.config import TrainingConfig

rows, made, out = map(Path, sys.argv[1:])
config = TrainingConfig(**json.loads((made / "manifest.json").read_text())["info"]["config"])
loop.train(
    config, made / "base", rows / "train", rows / "valid", out, score=metric.score,
    null_text="unavailable",
)
"""


def main() -> None:
    """Kill, go on, and compare."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        generate(home, questions=2000)
        write_rows(make_rows(home / "train-v2.0.json"), home / "train")
        write_rows(make_rows(home / "dev-v2.0.json"), home / "valid")
        break_training(home)
        break_search(home)


def break_training(home: Path) -> None:
    """Kill worker and step of a single trial."""
    broken, whole = home / "broken", home / "whole"
    step = start(home, broken)
    wait_for(broken, 30, step)
    killed = step_of(broken)
    for worker in workers(step):
        worker.kill()
    seconds = wait_for(broken, 30, step)
    print(f"worker killed at step {killed}, 30 steps further {seconds:.0f} s later", flush=True)
    rays = psutil.Process(step.pid).children(recursive=True)
    step.kill()
    step.wait()
    killed, since = step_of(broken), time.monotonic()
    _, left = psutil.wait_procs(rays, timeout=180)
    seconds = time.monotonic() - since
    names = [one.name() for one in left if one.status() != psutil.STATUS_ZOMBIE]
    print(f"step killed at step {killed}, {seconds:.1f} s later {len(names)} of its "
          f"{len(rays)} processes of Ray are left {' '.join(names)}", flush=True)  # fmt: skip
    if start(home, broken).wait() or start(home, whole).wait():
        sys.exit("a run failed")
    made, plain = whole / "quickstart/artifacts/checkpoints/latest", home / "plain"
    subprocess.run([sys.executable, "-c", _PLAIN, home, made, plain], check=True)
    weights = {}
    for name, place in ("unbroken", trial(whole)), ("broken", trial(broken)), ("plain", plain):
        result = json.loads((place / "training.json").read_text())
        weights[name] = (place / "checkpoint/model.safetensors").read_bytes()
        print(f"{name}: {result['steps']} steps, consumed {result['consumed']}, weights as "
              f"unbroken bit for bit: {weights[name] == weights['unbroken']}")  # fmt: skip
    left = list((broken / "quickstart/artifacts/checkpoints").glob(".draft-*/trials"))
    print(f"trials left behind: {len(left)}")


def break_search(home: Path) -> None:
    """Kill the step while the second of three trials trains."""
    place = home / "search"
    drafts = place / "quickstart/artifacts/checkpoints"
    step = start(home, place, trials=3)
    wait_until(lambda: any(drafts.glob(".draft-*/trials/trial_00001/resume-*")), place, step)
    step.kill()
    step.wait()
    (first,) = drafts.glob(".draft-*/trials/trial_00000/training.json")
    before, killed = first.read_bytes(), step_of(place)
    written = first.stat().st_mtime_ns
    if start(home, place, trials=3).wait():
        sys.exit((place / "log").read_text()[-3000:])
    made = drafts / "latest/trials"
    again = made / "trial_00000/training.json"
    same = again.read_bytes() == before and again.stat().st_mtime_ns == written
    print(f"search broken off at step {killed} of its second trial; the first was kept: {same}")
    for path in sorted(made.glob("*/training.json")):
        print(f"{path.parent.name}: {json.loads(path.read_text())['steps']} steps")


def start(rows: Path, home: Path, trials: int = 1) -> subprocess.Popen[bytes]:
    """The Dagster step as a process of its own."""
    home.mkdir(exist_ok=True)
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _STEP, str(rows), str(home), str(trials)],
            stdout=log,
            stderr=log,
        )


def step_of(home: Path) -> int:
    """The step of the last checkpoint."""
    found = (home / "quickstart/artifacts/checkpoints").glob(".draft-*/trials/*/resume-*")
    return max((int(path.name.split("-")[1]) for path in found), default=0)


def wait_for(home: Path, steps: int, process: subprocess.Popen[bytes]) -> float:
    """Wait until so many steps further are in a checkpoint; returns the seconds."""
    first, since = step_of(home), time.monotonic()
    wait_until(lambda: step_of(home) >= first + steps, home, process)
    return time.monotonic() - since


def wait_until(met: Callable[[], bool], home: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until it is so, for as long as the process runs."""
    while not met():
        if process.poll() is not None:
            sys.exit((home / "log").read_text()[-3000:])
        time.sleep(0.05)


def workers(step: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The workers of Ray Train that a step has started."""
    return [
        process
        for process in psutil.Process(step.pid).children(recursive=True)
        if any("RayTrainWorker" in part for part in process.cmdline())
    ]


def trial(home: Path) -> Path:
    """The trial of a finished run."""
    return next((home / "quickstart/artifacts/checkpoints/latest/trials").iterdir())


if __name__ == "__main__":
    main()
