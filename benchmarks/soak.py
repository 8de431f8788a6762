"""Ten thousand questions through an engine, with the memory of all its processes over time.

    python benchmarks/soak.py MODEL QUESTIONS OUT [--questions 10000] [--renew 20000] [--beside OUT]

MODEL is a directory that serves (`<artefact of spark_nlp_model>/model`), QUESTIONS a SQuAD file.
The predicting process is renewed after `--renew` questions; it writes each part of 500 predictions
as a file that appears whole. One that is started again goes on behind the last part, and so does
this command: what is in OUT is not predicted again. At the end each question must have been
predicted once; the last lines are the peak and the growth over the last half. OUT gets memory.csv
and memory.png. With `--beside`, the OUT of another model, comes the loss of the primary metric
against its predictions, with the paired 95 % interval.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from qa_assets.core.examples import Example, Prediction
from qa_assets.tasks.question_answering import TASK

PART = 500
MEGABYTE = 2**20


def predict_parts(model: Path, examples: Sequence[Example], out: Path, limit: int) -> None:
    """Predict what is not predicted yet, in parts, `limit` examples at most."""
    from qa_assets.deployment import serving
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session, stop_session
    from qa_assets.streaming.table import to_prediction

    settings = load_settings()
    spark = create_session("soak", settings.spark, settings.root)
    try:
        predict = serving.predictor(spark, model).by_spark
        for number in list(_missing(examples, out))[: max(1, limit // PART)]:
            part = examples[number * PART : (number + 1) * PART]
            frame = spark.createDataFrame(
                [(row.id, row.inputs["question"], row.inputs["context"]) for row in part],
                "id string, question string, context string",
            ).repartition(spark.sparkContext.defaultParallelism)
            rows = predict(frame).select("id", "prediction").collect()
            unfinished = out / f".{number}.unfinished"
            lines = (
                json.dumps({"id": row["id"], **asdict(to_prediction(row["prediction"]))})
                for row in rows
            )
            unfinished.write_text("".join(f"{line}\n" for line in lines))
            unfinished.rename(out / f"{number:04d}.jsonl")
    finally:
        stop_session(spark)


def _missing(examples: Sequence[Example], out: Path) -> Iterator[int]:
    parts = range((len(examples) + PART - 1) // PART)
    return (number for number in parts if not (out / f"{number:04d}.jsonl").exists())


def watch(process: "subprocess.Popen[bytes]", log: Any, out: Path, started: float) -> None:
    """Log the memory of a process and its children each second, until it ends."""
    writer = csv.writer(log)
    while process.poll() is None:
        memory: dict[str, int] = {}
        try:
            tree = psutil.Process(process.pid)
            for child in [tree, *tree.children(recursive=True)]:
                try:
                    kind = "jvm" if "java" in child.name() else "python"
                    memory[kind] = memory.get(kind, 0) + child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            break
        predicted = PART * len(list(out.glob("*.jsonl")))
        jvm, python = (memory.get(kind, 0) // MEGABYTE for kind in ("jvm", "python"))
        writer.writerow([round(time.monotonic() - started, 1), process.pid, predicted, jvm, python])
        log.flush()
        time.sleep(1)


def report(examples: Sequence[Example], out: Path) -> None:
    """Check that each example was predicted once, and print and plot the memory."""
    from matplotlib.figure import Figure

    ids = [row["id"] for row in _rows(out)]
    if sorted(ids) != sorted(example.id for example in examples):
        raise SystemExit(
            f"{len(examples)} examples, {len(ids)} predictions, of {len(set(ids))} examples"
        )
    rows = [row for row in csv.reader((out / "memory.csv").open()) if row[0] != "seconds"]
    total = [(int(row[2]), int(row[3]) + int(row[4])) for row in rows]
    by_part = {
        part: max(memory for predicted, memory in total if predicted == part)
        for part in sorted({predicted for predicted, _ in total})
    }
    # behind the last part the session ends
    half = [part for part in by_part if len(examples) / 2 <= part < len(examples)]
    grown = by_part[half[-1]] - by_part[half[0]]
    processes = len({row[1] for row in rows})
    print(f"predicted {len(ids)} of {len(examples)}, each once; processes: {processes}")
    print(f"peak {max(memory for _, memory in total)} MB")
    print(f"last half: {by_part[half[0]]} to {by_part[half[-1]]} MB, {grown:+d} MB")
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    numbers = range(len(rows))
    for column, name in ((3, "JVM"), (4, "Python")):
        axes.plot(
            [int(rows[number][2]) for number in numbers],
            [int(rows[number][column]) for number in numbers],
            label=name,
        )
    axes.plot(list(by_part), list(by_part.values()), label="all, largest by part", color="black")
    axes.set_xlabel("examples predicted")
    axes.set_ylabel("resident memory, MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out / "memory.png", dpi=110)


def compare(examples: Sequence[Example], out: Path, other: Path) -> None:
    """Print what the predictions in `out` lose against those in `other`."""
    from qa_assets.deployment.parity import paired_loss, primary_scores

    task = TASK()

    def predictions(directory: Path) -> list[Prediction]:
        texts = {row["id"]: row["text"] for row in _rows(directory)}
        return [Prediction(texts[example.id]) for example in examples]

    before, after = predictions(other), predictions(out)
    scores = [primary_scores(task, examples, rows) for rows in (before, after)]
    loss, (low, high) = paired_loss([example.group for example in examples], *scores)
    differing = sum(first != second for first, second in zip(before, after, strict=True))
    other_mean, mean = (100 * sum(values) / len(values) for values in scores)
    metric = task.metrics.shown[task.metrics.primary]
    print(f"{metric} {mean:.2f}, beside {other_mean:.2f}: loses {loss:.2f} "
          f"({low:.2f} to {high:.2f}), {differing} predictions differ")  # fmt: skip


def _rows(out: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(out.glob("*.jsonl")):
        yield from map(json.loads, file.read_text().splitlines())


def main() -> None:
    """Renew the predicting process until nothing is left to predict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--renew", type=int, default=20_000)
    parser.add_argument("--beside", type=Path, metavar="OUT")
    parser.add_argument("--predict", action="store_true", help="as the predicting process")
    options = parser.parse_args()
    examples = TASK().read_examples(options.file)
    random.Random(7).shuffle(examples)
    examples = examples[: options.questions]
    if options.predict:
        predict_parts(options.model, examples, options.out, options.renew)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (options.out / "memory.csv").open("a") as log:
        if not log.tell():
            csv.writer(log).writerow(["seconds", "process", "predicted", "jvm_mb", "python_mb"])
        while list(_missing(examples, options.out)):
            with subprocess.Popen([sys.executable, *sys.argv, "--predict"]) as process:
                watch(process, log, options.out, started)
            if process.returncode:
                raise SystemExit(f"the predicting process failed: {process.returncode}")
    report(examples, options.out)
    if options.beside:
        compare(examples, options.out, options.beside)


if __name__ == "__main__":
    main()
