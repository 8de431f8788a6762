"""The sensor against a real broker and a real instance."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from dagster import DagsterRunStatus

from qa_assets.components import sensors
from qa_assets.components.pipeline import Pipeline
from qa_assets.components.sensors import NOT_STOPPED, new_requests
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming import kafka, producer
from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.directory import StreamDirectory
from qa_assets_tests import pipelines
from qa_assets_tests.pipelines import key
from qa_assets_tests.streaming.test_transactions import begin_transaction, wait_for


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def settings(kafka_broker: KafkaConfig, tmp_path: Path) -> Settings:
    return load_settings(kafka=kafka_broker, home=tmp_path)


@pytest.fixture
def pipeline(settings: Settings, request: pytest.FixtureRequest) -> Pipeline:
    """A pipeline with a topic of the test's own, and something under the name of what serves."""
    tried = on_topic(request.node.name)
    with tried.store(settings).write("spark_nlp_model"):
        pass
    return tried


def on_topic(name: str, **stream: object) -> Pipeline:
    topics = {
        "requests": f"sensor-{name}",
        "responses": "answers",
        "dead_letters": "letters",
        "consumer_group": "sensor",
    }
    return pipelines.pipeline(topics=topics, stream=stream)


def tick(
    instance: dg.DagsterInstance, settings: Settings, pipeline: Pipeline, cursor: str | None = None
) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = new_requests(pipeline, "1")(context, settings=settings)
    assert isinstance(result, dg.SensorResult)
    return result


def send(settings: Settings, pipeline: Pipeline, count: int) -> kafka.TopicOffsets:
    messages = [
        {"id": str(n), "question": "Who led?", "context": "Rollo led."} for n in range(count)
    ]
    producer.produce_requests(pipeline.stream(settings), messages)
    return kafka.end_offsets(settings.kafka, pipeline.topics.requests)


def answered(instance: dg.DagsterInstance, topic: kafka.TopicOffsets) -> None:
    """Write down a materialisation that reached the offsets of `topic`."""
    offsets = {str(partition): end for partition, end in topic.offsets.items()}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            key("answers"),
            metadata={"topic_id": topic.topic_id, "end_offsets": dg.MetadataValue.json(offsets)},
        )
    )


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
    open_one = begin_transaction(settings.kafka, topic, ["a", "b"], written)
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
    open_one.commit_transaction(10)
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
