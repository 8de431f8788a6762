"""Tokens a second of the same training under Ray, as `make run` trains, and in a plain process.

    python benchmarks/training_ray.py --base DIR --rows train_split/latest/rows [--rounds 3]

They take turns, each in a process of its own with the environment of `make run`. The speed is that
of the steps behind the first; evaluations and checkpoints are not in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.dataset as ds

from qa_assets.tasks.question_answering import TASK
from qa_assets.training.config import RayConfig, TrainingConfig
from qa_assets.training.cpu import THREADS
from qa_assets.training.result import RESULT
from qa_assets.training.trainer import TrainingInputs, train

WAYS = ("plain", "Ray")


def run(way: str, base: str, rows: Path, steps: int, out: Path) -> None:
    """Train in this process, or in Ray's workers."""
    inputs = TrainingInputs(TASK(), base, rows, rows)
    examples = ds.dataset(rows).count_rows()
    batch = TrainingConfig().batch_tokens
    # of the first pass so many steps: a question of SQuAD has some 200 tokens
    config = TrainingConfig(epochs=steps * batch / 200 / examples, evaluations=1, eval_examples=1)
    if way == "plain":
        train(config, inputs, out / "trials" / "plain")
        return
    from qa_assets.training.search.tuning import search

    mlflow = f"sqlite:///{out}/mlflow.db"
    search(config, inputs, RayConfig(), trials=1, out=out, mlflow_uri=mlflow, experiment="speed")


def speed(out: Path) -> float:
    """Tokens a second of a finished training."""
    (result,) = out.glob(f"trials/*/{RESULT}")
    points = json.loads(result.read_text(encoding="utf-8"))["history"][1:]
    # steps have equally many tokens
    return float(statistics.harmonic_mean(point["tokens_per_second"] for point in points))


def main() -> None:
    """Train in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--rows", type=Path, required=True, help="Parquet of a split")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--here", choices=WAYS, help="train once, in this process")
    parser.add_argument("--out", type=Path, help="of --here")
    args = parser.parse_args()
    if args.here:
        run(args.here, args.base, args.rows, args.steps, args.out)
        return
    environment = os.environ | THREADS | {"TOKENIZERS_PARALLELISM": "false"}
    ratios = []
    with tempfile.TemporaryDirectory() as home:
        for number in range(1, args.rounds + 1):
            speeds = {}
            for way in WAYS[:: 1 if number % 2 else -1]:
                out = Path(home) / f"{way}-{number}"
                out.mkdir()
                command = [sys.executable, __file__, "--base", args.base, "--rows", str(args.rows)]
                command += ["--steps", str(args.steps), "--here", way, "--out", str(out)]
                subprocess.run(command, check=True, env=environment)
                speeds[way] = speed(out)
            ratios.append(speeds["Ray"] / speeds["plain"])
            print(f"round {number}: plain {speeds['plain']:.0f}, under Ray {speeds['Ray']:.0f} "
                  f"tokens/s, ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
