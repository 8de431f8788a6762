"""A backlog of requests worked off in bounded runs: the lag after each, and the throughput.

    python benchmarks/backlog.py [--requests 100000] [--per-run 20000] [--batch 2000]
                                 [--engine spark-nlp|none]

A tiny T5 with random weights on Spark NLP; `none` predicts with an expression of Spark's, which
measures what surrounds the engine. All runs are in one session, whose start is not in the times.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.deployment import serving
from qa_assets.local.broker import broker, free_port
from qa_assets.settings import load_settings
from qa_assets.streaming.config import KafkaConfig, StreamContext
from qa_assets.streaming.consumer import process_available
from qa_assets.streaming.micro_batch import Model
from qa_assets.streaming.producer import produce_requests
from qa_assets_tests.chaos.questions import make_model, question
from qa_assets_tests.streaming.stream import prediction, stream_context
from qa_assets_tests.tiny_models import import_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def none(frame: "DataFrame") -> "DataFrame":
    """The context in capitals."""
    from pyspark.sql import functions as sf

    return frame.withColumn("prediction", prediction(sf.upper("context"), 1.0))


def model(engine: str, home: Path, session: "SparkSession") -> Model:
    """The model of an engine."""
    if engine == "none":
        return Model("none", serving.Predictor(none))
    served = home / "served"
    import_model(session, make_model(home / "model"), served)
    return Model("tiny", serving.predictor(session, served))


def work_off(context: StreamContext, requests: int, engine: str, home: Path) -> None:
    """Send the requests, and answer until none is left; a line for each run."""
    from qa_assets.spark import SparkConfig, create_session, stop_session

    started = time.monotonic()
    produce_requests(context, (question(number) for number in range(requests)))
    print(f"{requests} requests sent in {time.monotonic() - started:.1f} s")
    session = create_session("backlog", SparkConfig(), home)
    try:
        serving = model(engine, home, session)
        print("| run | messages | batches | s | messages/s | lag |\n|---|---|---|---|---|---|")
        lag, run, total = 1, 0, 0.0
        while lag:
            run += 1
            summary = process_available(session, context, serving, home / "answers")
            lag, total = summary.lag, total + summary.duration_s
            print(
                f"| {run} | {summary.messages} | {summary.batches} | {summary.duration_s:.1f} "
                f"| {summary.messages_per_s:.0f} | {lag} |",
                flush=True,
            )
        print(f"{requests / total:.0f} messages/s over all")
    finally:
        stop_session(session)


def main() -> None:
    """Run on a broker of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--per-run", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--engine", choices=["spark-nlp", "none"], default="spark-nlp")
    options = parser.parse_args()
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-backlog-") as directory:
        home = Path(directory)
        (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        context = stream_context(
            KafkaConfig(bootstrap_servers=address),
            max_offsets_per_trigger=options.batch,
            max_messages_per_run=options.per_run,
        )
        with broker(home / "kafka", address, jars):
            work_off(context, options.requests, options.engine, home)


if __name__ == "__main__":
    main()
