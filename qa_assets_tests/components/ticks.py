"""Single ticks of the sensor, on a topic of the test's own, and what it finds there."""

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.components.sensors import new_requests
from qa_assets.settings import Settings
from qa_assets.streaming import kafka, producer
from qa_assets_tests import pipelines
from qa_assets_tests.pipelines import key


def on_topic(name: str, **stream: object) -> Pipeline:
    """A pipeline that reads a topic of this name."""
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
    """What the sensor asks for."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = new_requests(pipeline, "1")(context, settings=settings)
    assert isinstance(result, dg.SensorResult)
    return result


def send(settings: Settings, pipeline: Pipeline, count: int) -> kafka.TopicOffsets:
    """Put questions on the topic; returns its offsets."""
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
