"""Ten thousand questions through an engine, with the memory of all its processes as it goes.

    python benchmarks/soak.py MODEL QUESTIONS OUT [--questions 10000] [--renew 20000] [--beside OUT]

MODEL is a directory that serves (`<artefact of spark_nlp_model>/model`), QUESTIONS a SQuAD file.
The process that answers is renewed after `--renew` questions; it writes each part of 500 answers as
a file that appears whole, and one that is started again goes on behind the last. So can this: what
is in OUT is not asked again. At the end each question must have been answered once; the last lines
are the peak and the growth over the last half. OUT gets memory.csv and memory.png. With `--beside`,
the OUT of another model, comes the loss in F1 against its answers, with the paired 95 % interval.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from models import read

PART = 500
MEGABYTE = 2**20


def answer_parts(model: Path, asked: list[dict[str, Any]], out: Path, most: int) -> None:
    """Answer what is not answered yet, in parts, `most` questions at most."""
    from qa_assets.deployment import serving
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session, stop_session

    spark = create_session("soak", load_settings())
    try:
        answerer = serving.answerer(spark, model)
        for number in list(_missing(asked, out))[: max(1, most // PART)]:
            part = asked[number * PART : (number + 1) * PART]
            frame = spark.createDataFrame(
                [(row["id"], row["question"], row["context"]) for row in part],
                "id string, question string, context string",
            ).repartition(spark.sparkContext.defaultParallelism)
            rows = answerer(frame).select("id", "answer", "confidence").collect()
            unfinished = out / f".{number}.unfinished"
            unfinished.write_text("".join(json.dumps(row.asDict()) + "\n" for row in rows))
            unfinished.rename(out / f"{number:04d}.jsonl")
    finally:
        stop_session(spark)


def _missing(asked: list[dict[str, Any]], out: Path) -> Iterator[int]:
    parts = range((len(asked) + PART - 1) // PART)
    return (number for number in parts if not (out / f"{number:04d}.jsonl").exists())


def watch(process: "subprocess.Popen[bytes]", log: Any, out: Path, started: float) -> None:
    """Note the memory of a process and its children each second, until it ends."""
    writer = csv.writer(log)
    while process.poll() is None:
        names: dict[str, int] = {}
        try:
            tree = psutil.Process(process.pid)
            for one in [tree, *tree.children(recursive=True)]:
                try:
                    kind = "jvm" if "java" in one.name() else "python"
                    names[kind] = names.get(kind, 0) + one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
        except psutil.NoSuchProcess:
            break
        answered = PART * len(list(out.glob("*.jsonl")))
        jvm, python = (names.get(kind, 0) // MEGABYTE for kind in ("jvm", "python"))
        writer.writerow([round(time.monotonic() - started, 1), process.pid, answered, jvm, python])
        log.flush()
        time.sleep(1)


def report(asked: list[dict[str, Any]], out: Path) -> None:
    """Check that each question was answered once, and print and plot the memory."""
    from matplotlib.figure import Figure

    files = sorted(out.glob("*.jsonl"))
    ids = [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]
    if sorted(ids) != sorted(row["id"] for row in asked):
        raise SystemExit(
            f"{len(asked)} questions, {len(ids)} answers, {len(set(ids))} of them once"
        )
    rows = [row for row in csv.reader((out / "memory.csv").open()) if row[0] != "seconds"]
    total = [(int(row[2]), int(row[3]) + int(row[4])) for row in rows]
    by_part = {
        part: max(memory for answered, memory in total if answered == part)
        for part in sorted({answered for answered, _ in total})
    }
    # behind the last part the session ends
    half = [part for part in by_part if len(asked) / 2 <= part < len(asked)]
    grown = by_part[half[-1]] - by_part[half[0]]
    print(f"answered {len(ids)} of {len(asked)}, each once; processes: {len({r[1] for r in rows})}")
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
    axes.set_xlabel("questions answered")
    axes.set_ylabel("resident memory, MB")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out / "memory.png", dpi=110)


def compare(asked: list[dict[str, Any]], out: Path, other: Path) -> None:
    """Print what the answers in `out` lose against those in `other`."""
    from qa_assets.deployment.parity import paired_loss
    from qa_assets.tasks.question_answering import metric

    def answers(place: Path) -> dict[str, str]:
        lines = (line for file in place.glob("*.jsonl") for line in file.read_text().splitlines())
        return {row["id"]: row["answer"] or "" for row in map(json.loads, lines)}

    here, there = answers(out), answers(other)
    scores = [
        [metric.f1_each(said[row["id"]], row["references"]) for row in asked]
        for said in (there, here)
    ]
    loss, (low, high) = paired_loss([row["title"] for row in asked], *scores)
    differing = sum(here[row["id"]] != there[row["id"]] for row in asked)
    there_f1, here_f1 = (100 * sum(one) / len(one) for one in scores)
    print(f"F1 {here_f1:.2f}, beside {there_f1:.2f}: loses {loss:.2f} ({low:.2f} to {high:.2f}), "
          f"{differing} answers differ")  # fmt: skip


def main() -> None:
    """Renew the process that answers until nothing is left to answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--renew", type=int, default=20_000)
    parser.add_argument("--beside", type=Path, metavar="OUT")
    parser.add_argument("--answer", action="store_true", help="as the process that answers")
    given = parser.parse_args()
    asked = read(given.file)[: given.questions]
    if given.answer:
        answer_parts(given.model, asked, given.out, given.renew)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (given.out / "memory.csv").open("a") as log:
        if not log.tell():
            csv.writer(log).writerow(["seconds", "process", "answered", "jvm_mb", "python_mb"])
        while list(_missing(asked, given.out)):
            with subprocess.Popen([sys.executable, *sys.argv, "--answer"]) as process:
                watch(process, log, given.out, started)
            if process.returncode:
                raise SystemExit(f"the process that answers failed: {process.returncode}")
    report(asked, given.out)
    if given.beside:
        compare(asked, given.out, given.beside)


if __name__ == "__main__":
    main()
