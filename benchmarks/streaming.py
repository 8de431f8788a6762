"""End-to-end latency of streamed responses, from `produce` to a reader in `read_committed`.

    python benchmarks/streaming.py [--requests 120] [--burst 200]

On a tiny T5 with random weights, a broker of its own and 2 cores. Worker: a request a second to
`python -m qa_assets.cli.worker quickstart`. In runs: `--burst` requests at once to a run of the
consumer as the sensor starts it, session and model loading included, Dagster's own start not.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.local.broker import broker
from qa_assets.settings import load_settings
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.streaming.config import KafkaConfig, StreamContext
from qa_assets.streaming.consumer import process_available
from qa_assets.streaming.kafka import client_config, ensure_topics
from qa_assets.streaming.producer import produce_requests
from qa_assets.streaming.worker import LatestModel, worker_command
from qa_assets_tests.chaos.questions import make_model, question
from qa_assets_tests.conftest import free_port
from qa_assets_tests.streaming.stream import stream_context
from qa_assets_tests.tiny_models import import_model

_PIPELINE, _ASSET = "quickstart", "spark_nlp_model"
_WARM_UP = 15


class Reader:
    """Records when each response can be read."""

    def __init__(self, context: StreamContext) -> None:
        self.read_at: dict[str, float] = {}
        kafka, topic = context.kafka, context.topics.responses
        options = {"group.id": "benchmark", "isolation.level": "read_committed"}
        self._consumer = Consumer(client_config(kafka) | options | {"fetch.wait.max.ms": 10})
        self._consumer.assign([TopicPartition(topic, part, 0) for part in range(kafka.partitions)])
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.read_at[json.loads(message.value())["id"]] = time.time()

    def wait(self, ids: set[str], timeout_s: float) -> None:
        """Wait until all of these are answered."""
        until = time.monotonic() + timeout_s
        while not ids <= self.read_at.keys():
            if time.monotonic() > until:
                raise SystemExit(f"{len(ids - self.read_at.keys())} requests were not answered")
            time.sleep(0.05)


def request(name: str) -> dict[str, str]:
    """A request of this id."""
    return question(int("".join(filter(str.isdigit, name)) or 0)) | {"id": name}


def prepare(home: Path, store: ArtifactStore) -> None:
    """Put a model into the store, as `spark_nlp_model` does."""
    onnx = make_model(home / "model")
    session = create_session("benchmark", SparkConfig(), home)
    with store.write(_ASSET) as draft:
        import_model(session, onnx, draft.path / "model")
        draft.info |= {"model_version": "tiny", "serves": "model"}
    stop_session(session)


def by_worker(context: StreamContext, reader: Reader, requests: int) -> list[float]:
    """Seconds from produce to response, a request a second."""
    worker = subprocess.Popen(worker_command(_PIPELINE))  # noqa: S603
    sent: dict[str, float] = {}
    try:
        produce_requests(context, [request("first")])
        reader.wait({"first"}, 180)
        for number in range(_WARM_UP + requests):
            name = f"worker{number}"
            sent[name] = time.time()
            produce_requests(context, [request(name)])
            time.sleep(max(0.0, sent[name] + 1 - time.time()))
        reader.wait(set(sent), 60)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    measured = list(sent)[_WARM_UP:]
    return [reader.read_at[name] - sent[name] for name in measured]


def by_run(
    context: StreamContext, home: Path, store: ArtifactStore, reader: Reader, requests: int
) -> list[float]:
    """Seconds from produce to response, all produced at once and answered by one run."""
    names = [f"run{number}" for number in range(requests)]
    started = time.time()
    produce_requests(context, [request(name) for name in names])
    session = create_session("benchmark", SparkConfig(), home)
    try:
        model = LatestModel(session, store, _ASSET, context.config.model_check_s)()
        process_available(session, context, model, store.root / "answers")
    finally:
        stop_session(session)
    reader.wait(set(names), 60)
    return [reader.read_at[name] - started for name in names]


def main() -> None:
    """Measure both modes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=120)
    parser.add_argument("--burst", type=int, default=200)
    options = parser.parse_args()
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as directory:
        home, store = Path(directory), ArtifactStore(Path(directory) / "artifacts" / _PIPELINE)
        (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        os.environ |= {"QA_ASSETS_HOME": directory, "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": address}
        context = stream_context(KafkaConfig(bootstrap_servers=address), _PIPELINE)
        prepare(home, store)
        with broker(home / "kafka", address, jars):
            ensure_topics(context.kafka, [context.topics.requests, context.topics.responses])
            reader = Reader(context)
            times = {
                f"worker, 1 request/s, {options.requests} of them": by_worker(
                    context, reader, options.requests
                ),
                f"one run, {options.burst} at once": by_run(
                    context, home, store, reader, options.burst
                ),
            }
    print("| mode | p50 s | p95 s | p99 s | max s |\n|---|---|---|---|---|")
    for name, seconds in times.items():
        figures = [*np.percentile(seconds, (50, 95, 99)), max(seconds)]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures) + " |")


if __name__ == "__main__":
    main()
