"""End-to-end latency of streamed responses, from `produce` to a reader in `read_committed`.

    python benchmarks/streaming.py [--model DIR] [--rounds 3] [--requests 60] [--burst 200]

The worker (`python -m qa_assets.cli.worker quickstart`, Spark NLP) gets requests at 1 and at 20 a
second; so does, in turns on the same broker, a plain loop of confluent-kafka and CTranslate2 that
publishes as the worker does, in transactions with its offsets. Last, `--burst` requests at once to
a run of the consumer as the sensor starts it, session and model loading included, Dagster's own
start not. DIR is the Hugging Face directory of a T5; without it, a tiny one with random weights.
"""

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.deployment.engines.onnx_export import export
from qa_assets.local.broker import broker, free_port
from qa_assets.models import ctranslate2
from qa_assets.settings import load_settings
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.streaming.config import KafkaConfig, StreamContext
from qa_assets.streaming.consumer import process_available
from qa_assets.streaming.kafka import client_config, ensure_topics
from qa_assets.streaming.worker import LatestModel, worker_command
from qa_assets.tasks.question_answering.prompts import source_text
from qa_assets_tests.chaos.questions import make_model, question
from qa_assets_tests.streaming.stream import stream_context
from qa_assets_tests.tiny_models import import_model

_PIPELINE, _ASSET = "quickstart", "spark_nlp_model"
_RATES = (1, 20)
_WARM_UP_S = 15
_MAX_NEW_TOKENS = 8


class Client:
    """Sends requests of a stream, and records when each response can be read."""

    def __init__(self, context: StreamContext) -> None:
        self._context, self.read_at = context, dict[str, float]()
        kafka, self._topics = context.kafka, context.topics
        ensure_topics(kafka, [self._topics.requests, self._topics.responses])
        options = {"group.id": "benchmark", "isolation.level": "read_committed"}
        self._consumer = Consumer(client_config(kafka) | options | {"fetch.wait.max.ms": 10})
        self._consumer.assign(
            [TopicPartition(self._topics.responses, part, 0) for part in range(kafka.partitions)]
        )
        self._producer = Producer(client_config(kafka) | {"linger.ms": 0})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.read_at[json.loads(message.value())["id"]] = time.time()

    def latencies(self, name: str, count: int, rate: float = float("inf")) -> list[float]:
        """Seconds from produce to response, of `count` requests at `rate` a second."""
        sent: dict[str, float] = {}
        started = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            request = question(number) | {"id": f"{name}.{number}"}
            value = self._context.schemas.request_bytes(request)
            sent[request["id"]] = time.time()
            self._producer.produce(self._topics.requests, value, key=request["id"])
            self._producer.poll(0)
        self._producer.flush()
        until = time.monotonic() + 180
        while not sent.keys() <= self.read_at.keys():
            if time.monotonic() > until:
                raise SystemExit(f"{len(sent.keys() - self.read_at.keys())} were not answered")
            time.sleep(0.05)
        return [self.read_at[name] - at for name, at in sent.items()]


def plain_loop(context: StreamContext, model_dir: Path) -> None:
    """Answer requests until killed: poll, decode, and publish in a transaction with the offsets."""
    model = ctranslate2.load(model_dir)
    client, topics = client_config(context.kafka), context.topics
    options = {"group.id": "plain", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    consumer = Consumer(
        client | options | {"isolation.level": "read_committed", "fetch.wait.max.ms": 10}
    )
    consumer.subscribe([topics.requests])
    producer = Producer(client | {"transactional.id": "plain", "linger.ms": 0})
    producer.init_transactions()
    while True:
        messages = consumer.consume(200, timeout=0.01)
        if not messages:
            continue
        requests = [json.loads(message.value()) for message in messages]
        sources = [source_text(request["question"], request["context"]) for request in requests]
        outputs = ctranslate2.generate(model, sources, max_new_tokens=_MAX_NEW_TOKENS)
        producer.begin_transaction()
        for message, request, output in zip(messages, requests, outputs, strict=True):
            value = json.dumps({"id": request["id"], "answer": output.text})
            producer.produce(topics.responses, value, key=message.key())
        offsets = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()


@contextmanager
def worker() -> Iterator[None]:
    """The pipeline's worker, in a process."""
    process = subprocess.Popen(worker_command(_PIPELINE))  # noqa: S603
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def loop(context: StreamContext, model_dir: Path) -> Iterator[None]:
    """The plain loop, in a process."""
    process = multiprocessing.get_context("spawn").Process(
        target=plain_loop, args=(context, model_dir), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def run(
    context: StreamContext, client: Client, home: Path, store: ArtifactStore, count: int
) -> list[float]:
    """Seconds from produce to response, all produced at once and answered by one run."""
    found: list[float] = []
    sender = threading.Thread(target=lambda: found.extend(client.latencies("run", count)))
    sender.start()
    time.sleep(0.2)
    session = create_session("benchmark", SparkConfig(), home)
    try:
        model = LatestModel(session, store, _ASSET, context.config.model_check_s)()
        process_available(session, context, model, store.root / "runs")
    finally:
        stop_session(session)
    sender.join()
    return found


def prepare(home: Path, store: ArtifactStore, model_dir: Path | None) -> Path:
    """Put a model into the store, as `spark_nlp_model` does; returns it for CTranslate2."""
    if model_dir is None:
        onnx, model_dir = make_model(home / "model"), home / "model" / "model"
    else:
        onnx = home / "onnx"
        export(model_dir, onnx, max_new_tokens=_MAX_NEW_TOKENS)
    session = create_session("benchmark", SparkConfig(), home)
    with store.write(_ASSET) as draft:
        import_model(session, onnx, draft.path / "model")
        draft.info |= {"model_version": "benchmark", "serves": "model"}
    stop_session(session)
    ctranslate2.convert(model_dir, home / "plain", token_bias={}, quantization="float32")
    return home / "plain"


def measure(
    clients: dict[str, Client], options: argparse.Namespace
) -> dict[str, list[list[float]]]:
    """The latencies of each way and rate, by round; the ways take turns."""
    latencies: dict[str, list[list[float]]] = {}
    for name, client in clients.items():
        client.latencies(f"{name}.first", 1)
        for rate in _RATES:
            client.latencies(f"{name}.warm.{rate}", rate * _WARM_UP_S, rate)
    for number in range(options.rounds):
        for rate in _RATES:
            for name, client in clients.items():
                count = max(options.requests, 5 * rate)
                seconds = client.latencies(f"{name}.{number}.{rate}", count, rate)
                latencies.setdefault(f"{name}, {rate}/s", []).append(seconds)
    return latencies


def _row(name: str, rounds: list[list[float]]) -> str:
    """Median of the rounds, with their range, for each percentile."""
    cells = [name]
    for percent in (50, 95, 99, 100):
        values = sorted(float(np.percentile(seconds, percent)) for seconds in rounds)
        spread = f" ({values[0]:.3f} to {values[-1]:.3f})" if len(values) > 1 else ""
        cells.append(f"{np.median(values):.3f}{spread}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="Hugging Face directory of a T5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=60, help="of a round, at least")
    parser.add_argument("--burst", type=int, default=200)
    options = parser.parse_args()
    os.environ.pop("JAVA_TOOL_OPTIONS", None)  # the tests' JVMs compile less
    jars = load_settings().jars
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as directory:
        home, store = Path(directory), ArtifactStore(Path(directory) / "artifacts" / _PIPELINE)
        (home / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        os.environ |= {"QA_ASSETS_HOME": directory, "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": address}
        kafka = KafkaConfig(bootstrap_servers=address)
        streamed, plain, runs = (
            stream_context(kafka, name) for name in (_PIPELINE, "plain", "runs")
        )
        converted = prepare(home, store, options.model)
        with broker(home / "kafka", address, jars):
            clients = {"worker": Client(streamed), "plain loop": Client(plain)}
            with worker(), loop(plain, converted):
                rounds = measure(clients, options)
            burst = run(runs, Client(runs), home, store, options.burst)
    print("| way | p50 s | p95 s | p99 s | max s |\n|---|---|---|---|---|")
    for name, seconds in rounds.items():
        print(_row(name, seconds))
    print(_row(f"one run, {options.burst} at once", [burst]))
    for rate in _RATES:
        ways = (rounds[f"{name}, {rate}/s"] for name in clients)
        ratios = sorted(
            float(np.percentile(ours, 95) / np.percentile(theirs, 95))
            for ours, theirs in zip(*ways, strict=True)
        )
        print(
            f"p95 of the worker over that of the plain loop, {rate}/s: "
            f"{np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
