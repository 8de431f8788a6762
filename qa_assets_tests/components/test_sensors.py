"""When the sensor starts a run, against a real broker and a real instance."""

import json
import socket
import time
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus

from qa_assets.components.pipeline import Pipeline
from qa_assets.settings import Settings
from qa_assets_tests import pipelines
from qa_assets_tests.components.ticks import answered, send, tick
from qa_assets_tests.pipelines import key


def test_new_messages_start_a_run_until_they_are_answered(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    topic = send(settings, pipeline, 3)
    first = tick(instance, settings, pipeline)
    assert first.run_requests is not None
    assert [run.tags["qa_assets/pending"] for run in first.run_requests] == ["3"]
    # no run was begun: the next tick asks again
    again = tick(instance, settings, pipeline)
    assert again.run_requests
    answered(instance, topic)
    done = tick(instance, settings, pipeline)
    assert not done.run_requests
    assert "all 3 messages" in str(done.skip_reason)
    send(settings, pipeline, 2)
    more = tick(instance, settings, pipeline)
    assert more.run_requests is not None
    assert more.run_requests[0].tags["qa_assets/pending"] == "2"


def test_no_second_run_beside_one_under_way(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    send(settings, pipeline, 1)
    location, _ = pipelines.definitions(settings.home, pipeline.config)
    run = instance.create_run_for_job(location.resolve_implicit_global_asset_job_def())
    assert run.status == DagsterRunStatus.NOT_STARTED
    skipped = tick(instance, settings, pipeline)
    assert not skipped.run_requests
    assert run.run_id in str(skipped.skip_reason)
    instance.report_run_failed(run)
    assert tick(instance, settings, pipeline).run_requests


def test_waits_for_a_model(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline, tmp_path: Path
) -> None:
    send(settings, pipeline, 1)
    skipped = tick(instance, settings.model_copy(update={"home": tmp_path / "empty"}), pipeline)
    assert not skipped.run_requests
    assert "spark_nlp_model" in str(skipped.skip_reason)


def test_observes_the_topic_once_a_change(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    topic = send(settings, pipeline, 2)
    first = tick(instance, settings, pipeline)
    assert [event.metadata["messages"].value for event in first.asset_events] == [2]
    second = tick(instance, settings, pipeline, first.cursor)
    assert not second.asset_events
    assert json.loads(first.cursor or "")["topic_id"] == topic.topic_id


def test_a_missing_topic_or_broker_is_said_quickly(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    skipped = tick(instance, settings, pipeline)
    assert pipeline.topics.requests in str(skipped.skip_reason)
    # nothing listens; something listens and says nothing; there is no such machine
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for address in ("127.0.0.1:9", f"127.0.0.1:{silent.getsockname()[1]}", "no.invalid:9092"):
            gone = settings.kafka.model_copy(update={"bootstrap_servers": address})
            started = time.monotonic()
            skipped = tick(instance, settings.model_copy(update={"kafka": gone}), pipeline)
            assert time.monotonic() - started < 1.5  # 0.8 s; these cores are busy
            assert "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS" in str(skipped.skip_reason)


def test_a_tick_is_short(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    send(settings, pipeline, 10)
    times = []
    for _ in range(5):
        started = time.monotonic()
        assert tick(instance, settings, pipeline).run_requests
        times.append(time.monotonic() - started)
    assert sorted(times)[2] < 1


def test_no_run_beside_the_always_on_consumer(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    send(settings, pipeline, 1)
    location, _ = pipelines.definitions(settings.home, pipeline.config)
    job = location.resolve_job_def("tried_stream")
    run = instance.create_run_for_job(job, asset_selection=set())
    assert run.run_id in str(tick(instance, settings, pipeline).skip_reason)


def test_runs_that_answer_nothing_here_are_no_reason_to_wait(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    """Of another job of the pipeline, or of another pipeline."""
    send(settings, pipeline, 1)
    location, _ = pipelines.definitions(settings.home, pipeline.config)
    instance.create_run_for_job(location.resolve_job_def("tried_rollback"))
    other, _ = pipelines.definitions(settings.home, pipeline.config, name="other")
    instance.create_run_for_job(other.resolve_job_def("other_stream"))
    instance.create_run_for_job(
        location.resolve_implicit_global_asset_job_def(), asset_selection={key("raw_squad")}
    )
    assert tick(instance, settings, pipeline).run_requests
