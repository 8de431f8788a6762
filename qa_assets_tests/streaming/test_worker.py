"""The worker as the processes that `make stream` keeps running, with models from a store."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.streaming.config import KafkaConfig, StreamContext
from qa_assets.streaming.producer import produce_requests
from qa_assets.streaming.worker import keep_running
from qa_assets_tests.conftest import left_running
from qa_assets_tests.streaming.readers import read_committed
from qa_assets_tests.streaming.stream import stream_context
from qa_assets_tests.tiny_models import convert_model
from qa_assets_tests.waiting import wait_for

# `python -m qa_assets.cli.worker quickstart`, of a pipeline with another engine, topics and limits
_COMMAND = """
import sys
from qa_assets.cli import worker
from qa_assets.components.pipeline import Pipeline
from qa_assets.deployment.config import ServingConfig
from qa_assets.streaming.config import StreamConfig, Topics

changes = {
    "serving": ServingConfig(engine="ctranslate2"),
    "topics": Topics.named("always", "question", "answer"),
    "stream": StreamConfig(
        max_offsets_per_trigger=5, model_check_s=0.1, renew_after_messages=25
    ),
}
config = worker.chosen_pipeline("quickstart").config.model_copy(update=changes)
worker.chosen_pipeline = lambda name: Pipeline(name, config)
sys.exit(worker.main("quickstart"))
"""


def put_model(store: ArtifactStore, candidate: Path, version: str) -> None:
    """A model that serves, as the asset writes it."""
    with store.write("ctranslate2_model") as draft:
        convert_model(candidate, draft.path / "fp32")
        draft.info |= {"model_version": version, "serves": "fp32"}


def send(context: StreamContext, name: str, count: int) -> None:
    """Send requests with ids that begin with a letter."""
    produce_requests(
        context,
        [
            {"id": f"{name}{number}", "question": f"Who led {number}?", "context": "Rollo led."}
            for number in range(count)
        ],
    )


def rows_of(table: Path) -> list[dict[str, Any]]:
    """The rows of the table so far."""
    if not table.exists():
        return []
    rows: list[dict[str, Any]] = ds.dataset(table, partitioning="hive").to_table().to_pylist()
    return rows


@pytest.mark.timeout(480)
def test_models_and_processes_change_and_no_request_is_lost(
    jars_dir: Path,
    kafka_broker: KafkaConfig,
    candidate_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "jars").symlink_to(jars_dir)
    monkeypatch.setenv("QA_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS", kafka_broker.bootstrap_servers)
    context = stream_context(kafka_broker, "always")
    kafka, responses = context.kafka, context.topics.responses
    store = ArtifactStore(tmp_path / "artifacts" / "quickstart")
    table, log = store.root / "answers" / "table", tmp_path / "log"
    put_model(store, candidate_model, "v1")
    codes: list[int] = []

    def start() -> tuple[threading.Thread, threading.Event]:
        stop = threading.Event()
        command = [sys.executable, "-c", _COMMAND]
        worker = threading.Thread(target=lambda: codes.append(keep_running(command, stop, log)))
        worker.start()
        return worker, stop

    worker, stop = start()
    try:
        send(context, "a", 10)
        wait_for(lambda: len(rows_of(table)) == 10, 200, log)
        put_model(store, candidate_model, "v2")  # taken up between batches
        send(context, "b", 10)
        wait_for(lambda: len(rows_of(table)) == 20, 200, log)
        send(context, "c", 30)  # more than one process may answer
        wait_for(lambda: len(rows_of(table)) == 50, 200, log)
        send(context, "d", 40)
        wait_for(lambda: len(rows_of(table)) > 50, 200, log)
    finally:
        stop.set()  # in the midst of them: SIGTERM to the process
        worker.join(90)
    answered = len(rows_of(table))
    assert len(read_committed(kafka, responses)) == answered
    worker, stop = start()
    try:
        wait_for(lambda: len(rows_of(table)) == 90, 200, log)
    finally:
        stop.set()
        worker.join(90)

    rows = rows_of(table)
    assert codes == [0, 0]
    assert log.read_text().count("ready to answer") >= 3
    assert len({row["id"] for row in rows}) == len(rows) == 90
    published = [json.loads(row.value() or b"") for row in read_committed(kafka, responses)]
    assert {response["id"] for response in published} == {row["id"] for row in rows}
    assert len(published) == 90
    versions = {(row["id"][0], row["model_version"]) for row in rows if row["id"][0] != "c"}
    assert versions == {("a", "v1"), ("b", "v2"), ("d", "v2")}
    assert not left_running(tmp_path)
