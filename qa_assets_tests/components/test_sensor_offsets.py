"""What the sensor counts as unanswered: transactions, messages that are gone, another topic."""

import json
import time
from dataclasses import replace

import dagster as dg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from qa_assets.components import sensors
from qa_assets.components.pipeline import Pipeline
from qa_assets.components.sensors import NOT_STOPPED
from qa_assets.settings import Settings
from qa_assets.streaming import kafka
from qa_assets.streaming.directory import StreamDirectory
from qa_assets_tests.components.ticks import answered, on_topic, send, tick
from qa_assets_tests.streaming.test_transactions import begin_transaction
from qa_assets_tests.waiting import wait_for


def test_offsets_of_another_topic_id_do_not_count(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    topic = send(settings, pipeline, 1)
    answered(instance, kafka.TopicOffsets("another", dict.fromkeys(topic.offsets, 99), {}))
    assert tick(instance, settings, pipeline).run_requests


def test_an_open_transaction_starts_no_run_and_is_said(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    answered(instance, send(settings, pipeline, 3))
    topic, written = pipeline.topics.requests, time.time() - 300
    producer = begin_transaction(settings.kafka, topic, ["a", "b"], written)
    skipped = tick(instance, settings, pipeline)
    assert not skipped.run_requests
    assert str(skipped.skip_reason.skip_message if skipped.skip_reason else "") == (
        f"all 3 messages of {topic} are answered; 2 records wait for a producer's open "
        "transaction, the first for 5 min"
    )
    (event,) = skipped.asset_events
    assert (event.metadata["messages"].value, event.metadata["waiting_for_transaction"].value) == (
        3,
        2,
    )
    producer.commit_transaction(10)
    wait_for(lambda: bool(tick(instance, settings, pipeline).run_requests))
    answered(instance, kafka.end_offsets(settings.kafka, topic))
    done = tick(instance, settings, pipeline)  # the topic ends with the transaction's marker
    assert not done.run_requests
    assert "all 6 messages" in str(done.skip_reason)


@pytest.mark.parametrize("end", ["aborted", "timed out"])
def test_what_an_aborted_transaction_left_starts_no_run(
    instance: dg.DagsterInstance, settings: Settings, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "_TICK_S", 5.0)  # a tick without the time to look starts a run
    pipeline = on_topic(end.replace(" ", "-"))
    with pipeline.store(settings).write("spark_nlp_model"):
        pass
    answered(instance, send(settings, pipeline, 1))
    topic, limit = pipeline.topics.requests, 1_000 if end == "timed out" else 60_000
    producer = begin_transaction(settings.kafka, topic, ["a"], timeout_ms=limit)
    if end == "aborted":
        producer.abort_transaction(10)
    wait_for(lambda: not kafka.end_offsets(settings.kafka, topic).unstable)
    skipped = tick(instance, settings, pipeline)
    assert not skipped.run_requests
    assert "the 2 records behind them are of aborted transactions" in str(skipped.skip_reason)
    send(settings, pipeline, 1)
    assert tick(instance, settings, pipeline).run_requests


def test_what_an_aborted_transaction_left_is_passed_over_before_it_is_deleted(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    answered(instance, send(settings, pipeline, 1))
    topic, hours_ago = pipeline.topics.requests, time.time() - 2 * 3600
    begin_transaction(settings.kafka, topic, ["a"], hours_ago).abort_transaction(10)
    wait_for(lambda: not kafka.end_offsets(settings.kafka, topic).unstable)
    assert tick(instance, settings, pipeline).run_requests
    answered(instance, kafka.end_offsets(settings.kafka, topic))
    assert not tick(instance, settings, pipeline).run_requests


def test_lost_questions_are_said_and_no_run_is_started_in_vain(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    answered(instance, send(settings, pipeline, 3))
    topic = send(settings, pipeline, 4)
    places = [TopicPartition(pipeline.topics.requests, *at) for at in topic.offsets.items()]
    admin = AdminClient(kafka.client_config(settings.kafka))
    for deleted in admin.delete_records(places).values():
        deleted.result(10)
    send(settings, pipeline, 2)
    skipped = tick(instance, settings, pipeline)
    assert not skipped.run_requests
    assert "gone from the broker before they were answered" in str(skipped.skip_reason)
    (alert,) = [e for e in skipped.asset_events if isinstance(e, dg.AssetCheckEvaluation)]
    assert (alert.passed, alert.check_name) == (False, NOT_STOPPED)
    assert "gone from the broker" in str(alert.description)
    instance.report_runless_asset_event(alert)
    assert not any(
        isinstance(event, dg.AssetCheckEvaluation)
        for event in tick(instance, settings, pipeline, skipped.cursor).asset_events
    )
    name = pipeline.topics.requests.removeprefix("sensor-")
    asked = tick(instance, settings, on_topic(name, on_data_loss="continue"))
    assert asked.run_requests is not None
    assert asked.run_requests[0].tags["qa_assets/pending"] == "2"


def test_what_the_always_on_consumer_answered_is_not_lost(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    """It materialises nothing; how far it came is in its checkpoint."""
    answered(instance, send(settings, pipeline, 3))
    topic = send(settings, pipeline, 4)
    stream, out = pipeline.stream(settings), pipeline.stream_directory(settings)
    checkpoint = StreamDirectory(out, topic.topic_id, stream).checkpoint
    for log in ("offsets", "commits"):
        (checkpoint.path / log).mkdir(parents=True)
    source = json.dumps({checkpoint.topic: topic.offsets})
    (checkpoint.path / "offsets" / "0").write_text(f"v1\n{{}}\n{source}")
    (checkpoint.path / "commits" / "0").write_text("v1\n{}")
    places = [TopicPartition(pipeline.topics.requests, *at) for at in topic.offsets.items()]
    admin = AdminClient(kafka.client_config(settings.kafka))
    for deleted in admin.delete_records(places).values():
        deleted.result(10)
    assert "all 7 messages" in str(tick(instance, settings, pipeline).skip_reason)
    send(settings, pipeline, 1)
    assert tick(instance, settings, pipeline).run_requests


def test_a_topic_that_lost_its_end_is_said_and_no_run_is_started_in_vain(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline
) -> None:
    topic = send(settings, pipeline, 3)
    answered(instance, replace(topic, offsets={at: end + 1 for at, end in topic.offsets.items()}))
    skipped = tick(instance, settings, pipeline)
    assert not skipped.run_requests
    assert "ends before what was answered already" in str(skipped.skip_reason)
