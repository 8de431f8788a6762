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

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.sensors import new_questions
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming import kafka, producer
from qa_assets.streaming.config import KafkaSettings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def settings(kafka_broker: KafkaSettings, request: pytest.FixtureRequest) -> Settings:
    """Settings with a topic of the test's own."""
    topic = {"questions_topic": f"sensor-{request.node.name}"}
    return load_settings(kafka=kafka_broker.model_copy(update=topic))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """A store that holds something under the name of the served model; the sensor only looks."""
    made = ArtifactStore(tmp_path)
    with made.write("spark_nlp_model"):
        pass
    return made


def tick(instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance)
    result = new_questions(context, settings=settings, store=store)
    assert isinstance(result, dg.SensorResult)
    return result


def send(settings: Settings, count: int) -> kafka.TopicOffsets:
    messages = [
        {"id": str(n), "question": "Who led?", "context": "Rollo led."} for n in range(count)
    ]
    producer.produce_questions(settings.kafka, messages)
    return kafka.end_offsets(settings.kafka, settings.kafka.questions_topic)


def answered(instance: dg.DagsterInstance, topic: kafka.TopicOffsets) -> None:
    """Write down a materialisation that reached the offsets of `topic`."""
    offsets = {str(partition): end for partition, end in topic.offsets.items()}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "answers",
            metadata={"topic_id": topic.topic_id, "end_offsets": dg.MetadataValue.json(offsets)},
        )
    )


def test_new_messages_start_a_run_until_they_are_answered(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    topic = send(settings, 3)
    first = tick(instance, settings, store)
    assert first.run_requests is not None
    assert [run.tags["qa_assets/pending"] for run in first.run_requests] == ["3"]
    # nothing was answered, as after a failed run: the next tick tries again
    again = tick(instance, settings, store)
    assert again.run_requests
    answered(instance, topic)
    done = tick(instance, settings, store)
    assert not done.run_requests
    assert "all 3 messages" in str(done.skip_reason)
    send(settings, 2)
    more = tick(instance, settings, store)
    assert more.run_requests is not None
    assert more.run_requests[0].tags["qa_assets/pending"] == "2"


def test_offsets_of_another_topic_id_do_not_count(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    topic = send(settings, 1)
    answered(instance, kafka.TopicOffsets("another", dict.fromkeys(topic.offsets, 99), {}))
    assert tick(instance, settings, store).run_requests


def test_no_second_run_beside_one_under_way(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    send(settings, 1)
    run = instance.create_run_for_job(dg.job(name="whole_graph")(lambda: None))
    assert run.status == DagsterRunStatus.NOT_STARTED
    skipped = tick(instance, settings, store)
    assert not skipped.run_requests
    assert run.run_id in str(skipped.skip_reason)
    instance.report_run_failed(run)
    assert tick(instance, settings, store).run_requests


def test_waits_for_a_model(
    instance: dg.DagsterInstance, settings: Settings, tmp_path: Path
) -> None:
    send(settings, 1)
    skipped = tick(instance, settings, ArtifactStore(tmp_path / "empty"))
    assert not skipped.run_requests
    assert "spark_nlp_model" in str(skipped.skip_reason)


def test_observes_the_topic_once_a_change(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    topic = send(settings, 2)
    first = tick(instance, settings, store)
    assert [event.metadata["messages"].value for event in first.asset_events] == [2]
    context = dg.build_sensor_context(instance=instance, cursor=first.cursor)
    second = new_questions(context, settings=settings, store=store)
    assert isinstance(second, dg.SensorResult)
    assert not second.asset_events
    assert json.loads(first.cursor or "")["topic_id"] == topic.topic_id


def test_a_missing_topic_or_broker_is_said_quickly(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    skipped = tick(instance, settings, store)
    assert settings.kafka.questions_topic in str(skipped.skip_reason)
    # nothing listens; something listens and says nothing; there is no such machine
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for address in ("127.0.0.1:9", f"127.0.0.1:{silent.getsockname()[1]}", "no.invalid:9092"):
            gone = settings.kafka.model_copy(update={"bootstrap_servers": address})
            started = time.monotonic()
            skipped = tick(instance, settings.model_copy(update={"kafka": gone}), store)
            assert time.monotonic() - started < 1.5  # 0.8 s; these cores are busy
            assert "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS" in str(skipped.skip_reason)


def test_a_tick_is_short(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    send(settings, 10)
    times = []
    for _ in range(5):
        started = time.monotonic()
        assert tick(instance, settings, store).run_requests
        times.append(time.monotonic() - started)
    assert sorted(times)[2] < 1


def test_lost_questions_are_said_and_no_run_is_started_in_vain(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    answered(instance, send(settings, 3))
    topic = send(settings, 4)
    places = [TopicPartition(settings.kafka.questions_topic, *at) for at in topic.offsets.items()]
    admin = AdminClient(kafka.client_config(settings.kafka))
    for deleted in admin.delete_records(places).values():
        deleted.result(10)
    send(settings, 2)
    skipped = tick(instance, settings, store)
    assert not skipped.run_requests
    assert "gone from the broker before they were answered" in str(skipped.skip_reason)
    go_on = settings.stream.model_copy(update={"on_data_loss": "continue"})
    asked = tick(instance, settings.model_copy(update={"stream": go_on}), store)
    assert asked.run_requests is not None
    assert asked.run_requests[0].tags["qa_assets/pending"] == "2"


def test_a_topic_that_lost_its_end_is_said_and_no_run_is_started_in_vain(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    topic = send(settings, 3)
    answered(instance, replace(topic, offsets={at: end + 1 for at, end in topic.offsets.items()}))
    skipped = tick(instance, settings, store)
    assert not skipped.run_requests
    assert "ends before what was answered already" in str(skipped.skip_reason)


def test_no_run_beside_the_always_on_consumer(
    instance: dg.DagsterInstance, settings: Settings, store: ArtifactStore
) -> None:
    send(settings, 1)
    run = instance.create_run_for_job(dg.job(name="stream")(lambda: None), asset_selection=set())
    assert run.run_id in str(tick(instance, settings, store).skip_reason)
