"""Runs of the responses that fail for a reason that stays, ticked through simulated hours.

Broker, Spark, model, runs and Dagster's storage are real; a tick's requests and events are carried
out as Dagster's daemon does.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from qa_assets.components.pipeline import Pipeline
from qa_assets.components.sensors import NOT_STOPPED, new_requests
from qa_assets.local.broker import Login, broker, free_port
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import client_config
from qa_assets.streaming.producer import produce_requests
from qa_assets_tests import pipelines
from qa_assets_tests.components.clock import Clock
from qa_assets_tests.components.shared_spark import SharedSpark, shared
from qa_assets_tests.pipelines import key
from qa_assets_tests.streaming.test_worker import put_model

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRIES = 3


class Daemon:
    """Ticks the sensor and carries out what it asks for."""

    def __init__(
        self, pipeline: Pipeline, home: Path, kafka: KafkaConfig, instance: dg.DagsterInstance,
        clock: Clock,
    ) -> None:  # fmt: skip
        self.pipeline, self.instance, self.clock = pipeline, instance, clock
        self.settings: Settings = load_settings(kafka=kafka, home=home)
        spark = SharedSpark.of(self.settings)
        location, _ = pipelines.definitions(
            home, pipeline.config, spark=spark, settings=self.settings
        )
        self.job = location.resolve_implicit_global_asset_job_def()
        self.cursor: str | None = None
        self.runs: list[dg.ExecuteInProcessResult] = []
        self.reason = ""

    def tick(self) -> None:
        """One tick; a run that it asks for is over when it returns."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = new_requests(self.pipeline, "1")(context, settings=self.settings)
        assert isinstance(result, dg.SensorResult)
        for request in result.run_requests or ():
            self.runs.append(self.answer(request.tags))
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursor = result.cursor
        self.reason = result.skip_reason.skip_message or "" if result.skip_reason else ""

    def answer(self, tags: Mapping[str, str] | None = None) -> dg.ExecuteInProcessResult:
        """Materialise the responses, as by hand if there are no tags."""
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=[key("answers")],
            tags=tags,
            raise_on_error=False,
        )

    def hours(self, hours: float, step_s: float = 900) -> int:
        """Tick for so long; the number of runs that were started."""
        before, until = len(self.runs), time.time() + hours * 3600
        while time.time() < until:
            self.tick()
            self.clock.forward(step_s)
        return len(self.runs) - before

    def send(self, *ids: str) -> None:
        """Put questions of these ids on the topic."""
        stream = self.pipeline.stream(self.settings)
        produce_requests(
            stream, [{"id": name, "question": "Who?", "context": "Rollo led."} for name in ids]
        )

    def alerts(self) -> list[bool]:
        """What the check said, newest first."""
        check = dg.AssetCheckKey(key("answers"), NOT_STOPPED)
        storage = self.instance.event_log_storage
        records = storage.get_asset_check_execution_history(check, limit=100)
        evaluations = [record.evaluation for record in records]
        return [item.passed for item in evaluations if isinstance(item, dg.AssetCheckEvaluation)]


@pytest.fixture
def daemon(
    spark: "SparkSession",
    kafka_broker: KafkaConfig,
    candidate_model: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Daemon]:
    topics = {
        name: f"{request.node.name}-{name}" for name in ("requests", "responses", "dead_letters")
    }
    pipeline = pipelines.pipeline(
        topics=topics | {"consumer_group": request.node.name},
        serving={"engine": "ctranslate2"},
        stream={"retry": {"tries": TRIES}},
    )
    with shared(spark), dg.instance_for_test() as instance:
        made = Daemon(pipeline, tmp_path, kafka_broker, instance, Clock(monkeypatch))
        put_model(pipeline.store(made.settings), candidate_model, "v1")
        yield made


def test_a_model_that_cannot_be_loaded(daemon: Daemon, candidate_model: Path) -> None:
    store = daemon.pipeline.store(daemon.settings)
    (store.latest("ctranslate2_model").path / "fp32" / "model.bin").unlink()
    daemon.send("a")
    daemon.tick()
    daemon.tick()
    assert len(daemon.runs) == 1
    assert "1 of 3" in daemon.reason
    assert daemon.runs[0].run_id in daemon.reason
    assert "ProvenanceError" in daemon.reason
    assert " UTC, or at once with a new version of ctranslate2_model" in daemon.reason
    daemon.cursor = None  # of no account: as after a reset
    assert daemon.hours(5) == TRIES - 1
    assert daemon.reason.startswith("stopped. ")
    assert "materialise tried/answers" in daemon.reason
    daemon.send("b", "c")
    assert daemon.hours(1) == 0
    assert daemon.alerts() == [False]
    assert not daemon.answer().success  # by hand, to no avail
    daemon.tick()
    daemon.tick()
    put_model(store, candidate_model, "v1")
    assert daemon.hours(1) == 1
    assert daemon.runs[-1].success
    assert daemon.reason == f"all 3 messages of {daemon.pipeline.topics.requests} are answered"
    assert daemon.alerts()[0]


def test_a_full_disk(daemon: Daemon, tmp_path: Path) -> None:
    out = daemon.pipeline.stream_directory(daemon.settings)
    out.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        filler = out / "filler"
        with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
            while True:
                os.write(file.fileno(), bytes(1024))
        daemon.send("a")
        assert daemon.hours(5) == TRIES
        assert not any(run.success for run in daemon.runs)
        assert "disk is full" in daemon.reason
        assert daemon.alerts() == [False]
        filler.unlink()
        assert daemon.hours(1) == 0  # nothing tells that there is room again
        assert daemon.answer().success
        assert daemon.alerts()[0]
        daemon.send("b")
        assert daemon.hours(0.1) == 1
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_a_failed_blocking_check(daemon: Daemon) -> None:
    """Its runs answer, and fail all the same: other messages are no reason to start them."""
    daemon.send("a")
    daemon.tick()
    assert daemon.runs[0].success
    (table,) = (daemon.pipeline.stream_directory(daemon.settings) / "table").iterdir()
    shutil.copytree(table / "batch_id=0", table / "batch_id=99")  # answered twice
    began, starts = time.time(), []
    for number in range(12):
        daemon.send(f"b{number}")
        if daemon.hours(0.01, step_s=60):
            starts.append(round((time.time() - began) / 60))
    assert len(starts) == TRIES
    assert starts[2] - starts[1] > starts[1] - starts[0]
    assert not any(run.success for run in daemon.runs[1:])
    assert "answered_exactly_once" in daemon.reason
    assert daemon.alerts()[0] is False
    assert daemon.alerts().count(False) == 1
    shutil.rmtree(table / "batch_id=99")
    assert daemon.answer().success
    daemon.send("c")
    assert daemon.hours(0.01) == 1


def test_a_login_without_a_right(daemon: Daemon, jars_dir: Path, tmp_path: Path) -> None:
    """The sensor can see the topic; the run may not publish."""
    name = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    rights = {"authorizer.class.name": name, "allow.everyone.if.no.acl.found": "true"}
    address = f"127.0.0.1:{free_port()}"
    with broker(tmp_path / "broker", address, jars_dir, Login({}, rights, [])):
        kafka = KafkaConfig(bootstrap_servers=address)
        denied = Daemon(daemon.pipeline, tmp_path, kafka, daemon.instance, daemon.clock)
        denied.send("a")
        forbid = AclBinding(
            ResourceType.TRANSACTIONAL_ID, daemon.pipeline.topics.consumer_group,
            ResourcePatternType.PREFIXED, "User:ANONYMOUS", "*", AclOperation.WRITE,
            AclPermissionType.DENY,
        )  # fmt: skip
        admin = AdminClient(client_config(kafka))
        admin.create_acls([forbid])[forbid].result(10)
        assert denied.hours(5) == TRIES
        assert "KafkaUnavailable" in denied.reason
        assert "uthoriz" in denied.reason
        assert denied.alerts() == [False]
        other = denied.settings.kafka.model_copy(update={"sasl_username": "another"})
        denied.settings = denied.settings.model_copy(update={"kafka": other})
        denied.tick()
        assert len(denied.runs) == TRIES + 1  # another login is another cause
