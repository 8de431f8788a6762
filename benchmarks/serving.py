"""Questions a second, CPU time, F1 and memory of all runtimes, on the same questions.

    python benchmarks/serving.py MODELS DEV [--questions 1000] [--only ROW ...]

MODELS is what `benchmarks/models.py` made, DEV a SQuAD file. Each row is measured in a process of
its own, after a warm-up; ratios come last. Measurements are appended to results.jsonl in MODELS, so
that the rows can be measured one at a time.
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
from models import MAX_NEW_TOKENS, QA, read, source_of

from qa_assets.core.examples import Example, Prediction

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
Predict = Callable[[Sequence[Example]], list[Prediction]]


def _resolved(outputs: Sequence[Prediction]) -> list[Prediction]:
    return [QA.resolve([output]) for output in outputs]


def _transformers(directory: Path) -> Predict:
    import torch

    from qa_assets.models.loading import load
    from qa_assets.models.task_model import PredictOptions

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = load(directory, QA)
    options = PredictOptions(max_new_tokens=MAX_NEW_TOKENS, batch_size=16, precision="fp32")
    return lambda examples: _resolved(model.outputs(list(map(source_of, examples)), options))


def _onnx(directory: Path) -> Predict:
    from qa_assets.deployment.engines import onnx_runtime

    return lambda examples: _resolved(
        onnx_runtime.generate(
            directory, list(map(source_of, examples)), max_new_tokens=MAX_NEW_TOKENS
        )
    )


def _ctranslate2(directory: Path) -> Predict:
    from qa_assets.models import ctranslate2

    model = ctranslate2.load(directory, len(os.sched_getaffinity(0)))
    return lambda examples: _resolved(
        ctranslate2.generate(model, list(map(source_of, examples)), max_new_tokens=MAX_NEW_TOKENS)
    )


def _spark(directory: Path) -> Predict:
    from qa_assets.deployment import serving
    from qa_assets.settings import load_settings
    from qa_assets.spark import create_session

    settings = load_settings()
    spark = create_session("benchmark", settings.spark, settings.root)
    predictor = serving.predictor(spark, directory).by_spark

    def predict(examples: Sequence[Example]) -> list[Prediction]:
        frame = spark.createDataFrame(
            [
                (number, *(example.inputs[name] for name in QA.messages.inputs))
                for number, example in enumerate(examples)
            ],
            ["number", *QA.messages.inputs],
        ).repartition(spark.sparkContext.defaultParallelism)
        rows = predictor(frame).select("number", "prediction.text").collect()
        return [Prediction(row["text"] or "") for row in sorted(rows)]

    return predict


class Usage(threading.Thread):
    """The peak memory of this process and its children, sampled every half second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0

    def run(self) -> None:
        """Until the process ends."""
        while True:
            self.peak_mb = max(self.peak_mb, sum(memory.rss for memory, _ in _tree()) / 2**20)
            time.sleep(0.5)


def _tree() -> list[tuple[Any, Any]]:
    usage = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            usage.append((process.memory_info(), process.cpu_times()))
        except psutil.NoSuchProcess:
            continue
    return usage


def _cpu_s() -> float:
    # without children_*: their processes may end between two samples
    return float(sum(times.user + times.system for _, times in _tree()))


def measure(row: str, models: Path, dev: Path, count: int) -> dict[str, Any]:
    """Measure a row in this process."""
    from qa_assets.deployment.parity import primary_scores

    examples = read(dev)[: count + WARM_UP]
    measured = examples[:count]
    load = {"transformers": _transformers, "ONNX": _onnx, "CTranslate2": _ctranslate2}.get(
        row.split()[0], _spark
    )
    usage = Usage()
    usage.start()
    predict = (_spark if "Spark" in row else load)(models / ROWS[row])
    predict(examples[count:])
    started, cpu = time.monotonic(), _cpu_s()
    predictions = predict(measured)
    seconds, cpu = time.monotonic() - started, _cpu_s() - cpu
    scores = primary_scores(QA, measured, predictions)
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
    """Measure each row in a process of its own, then show all rows of that many questions."""
    results = models / "results.jsonl"
    for row in only or ROWS:
        command = [sys.executable, __file__, str(models), str(dev), "--here", "--only", row]
        process = subprocess.run(
            [*command, "--questions", str(count)], stdout=subprocess.PIPE, text=True, check=True
        )
        result = process.stdout.splitlines()[-1]
        with results.open("a") as file:
            file.write(result + "\n")
        print(result, flush=True)
    by_row: dict[str, list[dict[str, Any]]] = {}
    for line in results.read_text().splitlines():
        measurement = json.loads(line)
        if measurement["questions"] == count:
            by_row.setdefault(measurement["row"], []).append(measurement)
    print("\n| row | questions/s | CPU ms a question | F1 | peak MB | runs |")
    print("|---|---|---|---|---|---|")
    speed = {}
    for row in (row for row in ROWS if row in by_row):
        runs = by_row[row]
        means = {key: sum(each[key] for each in runs) / len(runs) for key in ("per_s", "cpu_ms")}
        speed[row] = means["per_s"]
        peak = max(each["peak_mb"] for each in runs)
        print(
            f"| {row} | {means['per_s']:.1f} | {means['cpu_ms']:.1f} | {runs[0]['f1']:.2f} "
            f"| {peak} | {len(runs)} |"
        )
    print()
    for row, base, goal in GOALS:
        if row in speed and base in speed:
            print(f"{row} over {base}: {speed[row] / speed[base]:.2f} (goal {goal})")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=[], metavar="ROW")
    parser.add_argument("--here", action="store_true", help="measure one row, in this process")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.only[0], args.models, args.dev, args.questions)))
    else:
        run(args.models, args.dev, args.questions, args.only)


if __name__ == "__main__":
    main()
