"""End-to-end times of streamed answers, from `produce` to a reader in `read_committed`.

    python benchmarks/streaming.py [--questions 120] [--burst 200]

On a tiny T5 with random weights, a broker of its own and 2 cores. Always-on: a question a second
to `python -m qa_assets.always_on`. In runs: `--burst` questions at once to a run of the consumer as
the sensor starts it, session and model loading included, Dagster's own start not.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.local.broker import broker
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming.config import KafkaSettings
from qa_assets.streaming.kafka import client_config, ensure_topics
from qa_assets.streaming.producer import produce_questions
from qa_assets_tests.chaos.questions import make_model, question
from qa_assets_tests.conftest import free_port
from qa_assets_tests.tiny_models import import_model

_WARM_UP = 15


class Reader:
    """Notes when each answer can be read."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.seen: dict[str, tuple[float, float]] = {}
        consumer = {"group.id": "benchmark", "isolation.level": "read_committed"}
        self._consumer = Consumer(client_config(kafka) | consumer | {"fetch.wait.max.ms": 10})
        places = [TopicPartition(kafka.answers_topic, part, 0) for part in range(kafka.partitions)]
        self._consumer.assign(places)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            found = self._consumer.poll(0.1)
            if found is not None and found.error() is None:
                said = json.loads(found.value())
                self.seen[said["id"]] = (time.time(), said["offset"])

    def wait(self, ids: set[str], timeout_s: float) -> None:
        """Wait until all of these are answered."""
        until = time.monotonic() + timeout_s
        while not ids <= self.seen.keys():
            if time.monotonic() > until:
                raise SystemExit(f"{len(ids - self.seen.keys())} questions were not answered")
            time.sleep(0.05)


def asked(name: str) -> dict[str, str]:
    """A question of this id."""
    return question(int("".join(filter(str.isdigit, name)) or 0)) | {"id": name}


def prepare(settings: Settings) -> None:
    """Put a model into the store, as `spark_nlp_model` does."""
    from qa_assets.spark import create_session, stop_session

    onnx = make_model(settings.home / "model")
    session = create_session("benchmark", settings)
    with ArtifactStore(settings.artifacts).write("spark_nlp_model") as draft:
        import_model(session, onnx, draft.path / "model")
        draft.info |= {"model_version": "tiny", "serves": "model"}
    stop_session(session)


def always_on(kafka: KafkaSettings, reader: Reader, questions: int) -> list[float]:
    """Seconds from produce to answer, a question a second."""
    worker = subprocess.Popen([sys.executable, "-m", "qa_assets.always_on"])  # noqa: S603
    sent: dict[str, float] = {}
    try:
        produce_questions(kafka, [asked("first")])
        reader.wait({"first"}, 180)
        for number in range(_WARM_UP + questions):
            name = f"always{number}"
            sent[name] = time.time()
            produce_questions(kafka, [asked(name)])
            time.sleep(max(0.0, sent[name] + 1 - time.time()))
        reader.wait(set(sent), 60)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    measured = list(sent)[_WARM_UP:]
    return [reader.seen[name][0] - sent[name] for name in measured]


def in_a_run(settings: Settings, reader: Reader, questions: int) -> list[float]:
    """Seconds from produce to answer, all produced at once and answered by one run."""
    from qa_assets.served import LatestModel
    from qa_assets.spark import create_session, stop_session
    from qa_assets.streaming.consumer import answer_available

    names = [f"run{number}" for number in range(questions)]
    started = time.time()
    produce_questions(settings.kafka, [asked(name) for name in names])
    session = create_session("benchmark", settings)
    try:
        store = ArtifactStore(settings.artifacts)
        model = LatestModel(settings, session, store)()
        answer_available(session, settings.kafka, settings.stream, model, store.root / "answers")
    finally:
        stop_session(session)
    reader.wait(set(names), 60)
    return [reader.seen[name][0] - started for name in names]


def main() -> None:
    """Measure both modes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--burst", type=int, default=200)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qa-assets-benchmark-") as place:
        jars = load_settings().jars
        (Path(place) / "jars").symlink_to(jars)
        address = f"127.0.0.1:{free_port()}"
        os.environ |= {"QA_ASSETS_HOME": place, "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": address}
        settings = load_settings()
        prepare(settings)
        with broker(Path(place) / "kafka", address, jars):
            kafka = settings.kafka
            ensure_topics(kafka, [kafka.questions_topic, kafka.answers_topic])
            reader = Reader(kafka)
            times = {
                f"always on, 1 question/s, {told.questions} of them": always_on(
                    kafka, reader, told.questions
                ),
                f"one run, {told.burst} at once": in_a_run(settings, reader, told.burst),
            }
    print("| mode | p50 s | p95 s | p99 s | most s |\n|---|---|---|---|---|")
    for name, seconds in times.items():
        figures = [*np.percentile(seconds, (50, 95, 99)), max(seconds)]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures) + " |")


if __name__ == "__main__":
    main()
