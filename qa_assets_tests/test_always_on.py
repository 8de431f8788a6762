"""The always-on consumer as the processes that `make stream` keeps, with models from a store."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from qa_assets.always_on import keep_answering
from qa_assets.core.artifacts import ArtifactStore
from qa_assets.settings import load_settings
from qa_assets.streaming.config import KafkaSettings
from qa_assets.streaming.producer import produce_questions
from qa_assets_tests.conftest import left_running
from qa_assets_tests.streaming.readers import read_committed
from qa_assets_tests.tiny_models import convert_model


def put_model(store: ArtifactStore, candidate: Path, version: str) -> None:
    """A model that serves, as `serving_models` makes it."""
    with store.write("ctranslate2_model") as draft:
        convert_model(candidate, draft.path / "fp32")
        draft.info |= {"model_version": version, "serves": "fp32"}


def send(kafka: KafkaSettings, name: str, count: int) -> None:
    """Questions of ids that begin with a letter."""
    produce_questions(
        kafka,
        [
            {"id": f"{name}{number}", "question": f"Who led {number}?", "context": "Rollo led."}
            for number in range(count)
        ],
    )


def rows_of(table: Path) -> list[dict[str, Any]]:
    """The table of answers as it stands."""
    if not table.exists():
        return []
    rows: list[dict[str, Any]] = ds.dataset(table, partitioning="hive").to_table().to_pylist()
    return rows


def wait(met: Callable[[], bool], log: Path) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 100
    while not met():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.timeout(240)
def test_models_and_processes_change_and_no_question_is_lost(
    jars_dir: Path,
    kafka_broker: KafkaSettings,
    candidate_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "jars").symlink_to(jars_dir)
    for name, value in {
        "QA_ASSETS_HOME": str(tmp_path),
        "QA_ASSETS_SERVING_ENGINE": "ctranslate2",
        "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "QA_ASSETS_KAFKA_QUESTIONS_TOPIC": "always.questions",
        "QA_ASSETS_KAFKA_ANSWERS_TOPIC": "always.answers",
        "QA_ASSETS_KAFKA_DEAD_LETTER_TOPIC": "always.dead",
        "QA_ASSETS_KAFKA_CONSUMER_GROUP": "always",
        "QA_ASSETS_STREAM_MAX_OFFSETS_PER_TRIGGER": "5",
        "QA_ASSETS_STREAM_MODEL_CHECK_S": "0.1",
        "QA_ASSETS_STREAM_RENEW_AFTER_MESSAGES": "25",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    kafka, store = settings.kafka, ArtifactStore(settings.artifacts)
    table, log = store.root / "answers" / "table", tmp_path / "log"
    put_model(store, candidate_model, "v1")
    codes: list[int] = []

    def start() -> tuple[threading.Thread, threading.Event]:
        stop = threading.Event()
        worker = threading.Thread(target=lambda: codes.append(keep_answering(stop, log)))
        worker.start()
        return worker, stop

    worker, stop = start()
    try:
        send(kafka, "a", 10)
        wait(lambda: len(rows_of(table)) == 10, log)
        put_model(store, candidate_model, "v2")  # taken up between batches
        send(kafka, "b", 10)
        wait(lambda: len(rows_of(table)) == 20, log)
        send(kafka, "c", 30)  # more than one process may answer
        wait(lambda: len(rows_of(table)) == 50, log)
        send(kafka, "d", 40)
        wait(lambda: len(rows_of(table)) > 50, log)
    finally:
        stop.set()  # in the midst of them: SIGTERM to the process
        worker.join(90)
    answered = len(rows_of(table))
    assert len(read_committed(kafka, kafka.answers_topic)) == answered
    worker, stop = start()
    try:
        wait(lambda: len(rows_of(table)) == 90, log)
    finally:
        stop.set()
        worker.join(90)

    rows = rows_of(table)
    assert codes == [0, 0]
    assert log.read_text().count("ready to answer") >= 3
    assert len({row["id"] for row in rows}) == len(rows) == 90
    told = [json.loads(one.value()) for one in read_committed(kafka, kafka.answers_topic)]
    assert {one["id"] for one in told} == {row["id"] for row in rows}
    assert len(told) == 90
    versions = {(row["id"][0], row["model_version"]) for row in rows if row["id"][0] != "c"}
    assert versions == {("a", "v1"), ("b", "v2"), ("d", "v2")}
    assert not left_running(tmp_path)
