"""Where the time of a micro-batch goes: Spark's own durations, and the steps of ours within them.

    python benchmarks/micro_batch.py [--requests 60] [--model DIR]

The consumer gets a request a second, as in `streaming.py`; medians and 95th percentiles in
milliseconds, over the micro-batches after a warm-up. Spark's `addBatch` holds all of our steps.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from streaming import Client, prepare

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.local.broker import broker, free_port
from qa_assets.settings import load_settings
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.streaming import micro_batch
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.consumer import process_until
from qa_assets.streaming.micro_batch import MicroBatchProcessor
from qa_assets.streaming.publisher import Publisher
from qa_assets.streaming.table import Deduplicator, ResponseTable
from qa_assets.streaming.worker import LatestModel
from qa_assets_tests.streaming.stream import stream_context

_WARM_UP = 20
_STEPS = {
    "look for lost messages": (micro_batch, "record_loss"),
    "read the messages: a Spark job, and JSON": (MicroBatchProcessor, "_read"),
    "predict, look for duplicates": (MicroBatchProcessor, "_predict"),
    "of that, duplicates": (Deduplicator, "duplicates"),
    "write the table": (ResponseTable, "write_batch"),
    "publish in a transaction": (Publisher, "publish"),
}


def timed(times: list[float], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which adds the milliseconds of each call to a list."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times.append(1000 * (time.perf_counter() - started))

    return call


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--model", type=Path, help="Hugging Face directory of a T5")
    options = parser.parse_args()
    os.environ.pop("JAVA_TOOL_OPTIONS", None)  # the tests' JVMs compile less
    steps: dict[str, list[float]] = {name: [] for name in _STEPS}
    for name, (owner, attribute) in _STEPS.items():
        setattr(owner, attribute, timed(steps[name], getattr(owner, attribute)))
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as directory:
        home, store = Path(directory), ArtifactStore(Path(directory) / "artifacts")
        (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        context = stream_context(KafkaConfig(bootstrap_servers=address))
        prepare(home, store, options.model)
        with broker(home / "kafka", address, jars):
            client, stop = Client(context), threading.Event()
            session = create_session("benchmark", SparkConfig(), home)
            durations: dict[str, list[float]] = {}
            latencies: list[float] = []

            def ask() -> None:
                client.latencies("warm", _WARM_UP, 1)
                for times in steps.values():
                    times.clear()
                latencies.extend(client.latencies("measured", options.requests, 1))
                for query in session.streams.active:
                    progress = [part for part in query.recentProgress if part["numInputRows"]]
                    for part in progress[-options.requests :]:
                        for name, milliseconds in part["durationMs"].items():
                            durations.setdefault(name, []).append(milliseconds)
                stop.set()

            asking = threading.Thread(target=ask)
            asking.start()
            model = LatestModel(session, store, "spark_nlp_model", context.config.model_check_s)
            process_until(session, context, model, home / "answers", stop)
            asking.join()
            stop_session(session)
    print("| step | p50 ms | p95 ms |\n|---|---|---|")
    latency = [1000 * seconds for seconds in latencies]
    for name, times in {"from produce to response": latency, **durations, **steps}.items():
        print(f"| {name} | {np.percentile(times, 50):.0f} | {np.percentile(times, 95):.0f} |")


if __name__ == "__main__":
    main()
