"""The sensor that answers what arrives: new messages on the questions topic start `answers`.

A tick reads end offsets and compares them with those of the last successful materialisation of
`answers`, so that a failed run is tried again at the next tick. The cursor only remembers which
offsets were reported as observed.
"""

import json
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterRunStatus

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.settings import Settings

if TYPE_CHECKING:
    from qa_assets.streaming import kafka

_ACTIVE = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_ANSWERS = dg.AssetKey("answers")
_ALWAYS_ON = "stream"
_TICK_S = 0.8  # a tick must not keep the others waiting, be the broker there or not


@dg.sensor(
    target=dg.AssetSelection.assets(_ANSWERS),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def new_questions(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
) -> dg.SensorResult:
    """Starts a run of `answers` when the questions topic holds messages that it has not seen."""
    from qa_assets.streaming import data_loss, kafka

    topic_name = settings.kafka.questions_topic
    try:
        topic = kafka.end_offsets(settings.kafka, topic_name, timeout_s=_TICK_S)
    except (kafka.TopicMissing, kafka.KafkaUnavailable) as error:
        return dg.SensorResult(skip_reason=str(error))

    now = json.dumps({"topic_id": topic.topic_id, "end_offsets": topic.offsets}, sort_keys=True)
    observed = [] if now == context.cursor else [_observation(topic)]
    reached = answered_offsets(context.instance, topic)
    pending = pending_questions(reached, topic)
    go_on = settings.stream.on_data_loss == "continue"
    if why := data_loss.objection(topic_name, reached, topic, go_on=go_on):
        reason = why  # a run would only say so again
    elif not pending:
        reason = f"all {topic.total} messages of {topic_name} are answered"
    elif store.find(settings.serving.model) is None:
        reason = f"{pending} messages wait for a {settings.serving.model}: materialise it first"
    elif run_id := _active_run(context.instance):
        reason = f"{pending} messages; run {run_id} answers already"
    else:
        return dg.SensorResult(
            run_requests=[
                # named, though it is the target, for the UI to show it
                dg.RunRequest(asset_selection=[_ANSWERS], tags={"qa_assets/pending": str(pending)})
            ],
            asset_events=observed,
            cursor=now,
        )
    return dg.SensorResult(skip_reason=reason, asset_events=observed, cursor=now)


def answered_offsets(instance: dg.DagsterInstance, topic: "kafka.TopicOffsets") -> dict[int, int]:
    """Partition to the offset that the last materialisation of `answers` reached on this topic."""
    event = instance.get_latest_materialization_event(_ANSWERS)
    materialization = event.asset_materialization if event else None
    if not materialization or materialization.metadata["topic_id"].value != topic.topic_id:
        return {}
    reached: dict[str, int] = materialization.metadata["end_offsets"].value  # type: ignore[assignment]
    return {int(partition): offset for partition, offset in reached.items()}


def pending_questions(reached: dict[int, int], topic: "kafka.TopicOffsets") -> int:
    """Messages of the topic behind those offsets."""
    return sum(
        max(0, end - max(reached.get(partition, 0), topic.begin.get(partition, 0)))
        for partition, end in topic.offsets.items()
    )


def _observation(topic: "kafka.TopicOffsets") -> dg.AssetObservation:
    return dg.AssetObservation(
        "questions",
        metadata={
            "topic_id": topic.topic_id,
            "messages": topic.total,
            "end_offsets": dg.MetadataValue.json(
                {str(partition): end for partition, end in topic.offsets.items()}
            ),
        },
    )


def _active_run(instance: dg.DagsterInstance) -> str | None:
    """A run under way that answers, if any; whole-graph runs name no selection."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_ACTIVE)):
        if run.job_name == _ALWAYS_ON:
            return run.run_id
        if run.asset_selection is None or _ANSWERS in run.asset_selection:
            return run.run_id
    return None
