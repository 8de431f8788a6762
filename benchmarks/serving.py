"""Questions a second, CPU time, F1 and memory of all that can answer, on the same questions.

    python benchmarks/serving.py MODELS DEV [--questions 1000] [--only ROW ...]

MODELS is what `benchmarks/models.py` made, DEV a SQuAD file. Each row is measured in a process of
its own, after a warm-up; ratios come last. MODELS keeps what was measured (results.jsonl), so that
the rows can be measured in pieces.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from models import LONGEST, NO_ANSWER, read

WARM_UP = 64
ROWS = {
    "transformers": "model",
    "ONNX Runtime": "onnx/fp32",
    "ONNX Runtime int8": "onnx/int8",
    "CTranslate2 float32": "ctranslate2/fp32",
    "CTranslate2 int8": "ctranslate2/int8",
    "Spark NLP fp32": "spark_nlp/fp32",
    "Spark NLP int8": "spark_nlp/int8",
    "CTranslate2 int8 in Spark": "ctranslate2/int8",
}
GOALS = [
    ("Spark NLP int8", "Spark NLP fp32", 1.8),
    ("Spark NLP int8", "CTranslate2 float32", 1.0),
    ("CTranslate2 int8 in Spark", "CTranslate2 int8", 0.85),
]
Answer = Callable[[Sequence[tuple[str, str]]], list[str]]


def _transformers(place: Path) -> Answer:
    import torch

    from qa_assets.models import base_model
    from qa_assets.models.decoding import generate
    from qa_assets.tasks.question_answering.prompts import source_text

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, tokenizer = base_model.load(place)
    return lambda asked: generate(
        model, tokenizer, [source_text(*one) for one in asked],
        max_new_tokens=LONGEST, batch_size=16, precision="fp32",
    )  # fmt: skip


def _onnx(place: Path) -> Answer:
    from qa_assets.deployment.engines import onnx_runtime
    from qa_assets.tasks.question_answering.prompts import source_text

    return lambda asked: onnx_runtime.answer(
        place, [source_text(*one) for one in asked], max_new_tokens=LONGEST
    )


def _ctranslate2(place: Path) -> Answer:
    from qa_assets.deployment.engines import ctranslate2
    from qa_assets.tasks.question_answering.prompts import source_text

    model = ctranslate2.load(place, len(os.sched_getaffinity(0)))
    return lambda asked: ctranslate2.answer(
        model, [source_text(*one) for one in asked], max_new_tokens=LONGEST
    )[0]


def _spark(place: Path) -> Answer:
    from qa_assets.deployment import serving
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session

    spark = create_session("benchmark", load_settings())
    answerer = serving.answerer(spark, place)

    def answer(asked: Sequence[tuple[str, str]]) -> list[str]:
        frame = spark.createDataFrame(
            [(number, *one) for number, one in enumerate(asked)],
            "number int, question string, context string",
        ).repartition(spark.sparkContext.defaultParallelism)
        rows = answerer(frame).select("number", "answer").collect()
        return [row["answer"] or "" for row in sorted(rows)]

    return answer


class Usage(threading.Thread):
    """The largest memory of this process and its children, looked at every half second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.peak_mb = max(self.peak_mb, sum(one.rss for one, _ in _tree()) / 2**20)
            time.sleep(0.5)


def _tree() -> list[tuple[Any, Any]]:
    found = []
    for one in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            found.append((one.memory_info(), one.cpu_times()))
        except psutil.NoSuchProcess:
            continue
    return found


def _cpu_s() -> float:
    # without children_*: what has ended is not waited for before the last look
    return sum(times.user + times.system for _, times in _tree())


def measure(row: str, models: Path, dev: Path, count: int) -> dict[str, Any]:
    """One row, in this process."""
    from qa_assets.models.decoding import to_answers
    from qa_assets.tasks.question_answering import metric

    rows = read(dev)[: count + WARM_UP]
    asked = [(one["question"], one["context"]) for one in rows]
    make = {"transformers": _transformers, "ONNX": _onnx, "CTranslate2": _ctranslate2}.get(
        row.split()[0], _spark
    )
    usage = Usage()
    usage.start()
    answer = (_spark if "Spark" in row else make)(models / ROWS[row])
    answer(asked[count:])
    started, cpu = time.monotonic(), _cpu_s()
    texts = answer(asked[:count])
    seconds, cpu = time.monotonic() - started, _cpu_s() - cpu
    scores = [
        metric.f1_each(text, one["references"])
        for text, one in zip(to_answers(texts, NO_ANSWER), rows, strict=False)
    ]
    if "Spark" in row:
        from pyspark.sql import SparkSession

        from qa_assets.spark import stop_session

        stop_session(SparkSession.getActiveSession())
    return {
        "row": row,
        "questions": count,
        "per_s": round(count / seconds, 2),
        "cpu_ms": round(1000 * cpu / count, 1),
        "f1": round(100 * sum(scores) / count, 2),
        "peak_mb": round(usage.peak_mb),
        "cores": len(os.sched_getaffinity(0)),
    }


def run(models: Path, dev: Path, count: int, only: list[str]) -> None:
    """Each row in a process of its own; then all that was ever measured of so many questions."""
    results = models / "results.jsonl"
    for row in only or ROWS:
        command = [sys.executable, __file__, str(models), str(dev), "--here", "--only", row]
        told = subprocess.run(
            [*command, "--questions", str(count)], stdout=subprocess.PIPE, text=True, check=True
        )
        with results.open("a") as file:
            file.write(told.stdout.splitlines()[-1] + "\n")
        print(told.stdout.splitlines()[-1], flush=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for line in results.read_text().splitlines():
        one = json.loads(line)
        if one["questions"] == count:
            found.setdefault(one["row"], []).append(one)
    print("\n| row | questions/s | CPU ms a question | F1 | peak MB | runs |")
    print("|---|---|---|---|---|---|")
    speed = {}
    for row in (row for row in ROWS if row in found):
        runs = found[row]
        means = {key: sum(one[key] for one in runs) / len(runs) for key in ("per_s", "cpu_ms")}
        speed[row] = means["per_s"]
        peak = max(one["peak_mb"] for one in runs)
        print(
            f"| {row} | {means['per_s']:.1f} | {means['cpu_ms']:.1f} | {runs[0]['f1']:.2f} "
            f"| {peak} | {len(runs)} |"
        )
    print()
    for one, other, goal in GOALS:
        if one in speed and other in speed:
            print(f"{one} over {other}: {speed[one] / speed[other]:.2f} (goal {goal})")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], metavar="ROW")
    parser.add_argument("--here", action="store_true", help="measure one row, in this process")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.only[0], given.models, given.dev, given.questions)))
    else:
        run(given.models, given.dev, given.questions, given.only)


if __name__ == "__main__":
    main()
