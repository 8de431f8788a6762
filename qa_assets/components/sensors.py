"""The sensor that answers what arrives: new messages on the topic of requests start a run.

A tick reads end offsets and compares them with those of the last successful materialisation of the
responses, so that a failed run is tried again at the next tick. The cursor only remembers which
offsets were reported as observed.
"""

import json
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterRunStatus

from qa_assets.components.pipeline import Pipeline
from qa_assets.settings import Settings

if TYPE_CHECKING:
    from qa_assets.streaming import kafka

_FINISHED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
UNDER_WAY = dg.RunsFilter(statuses=[s for s in DagsterRunStatus if s not in _FINISHED])
"""Runs that wait or run."""
_TICK_S = 0.8  # a tick must not keep the others waiting, be the broker there or not


def new_requests(pipeline: Pipeline) -> dg.SensorDefinition:
    """The sensor `<pipeline>_new_<requests>`."""
    serving, responses = pipeline.config.serving.model, pipeline.responses
    key, topic_name = pipeline.key(responses), pipeline.topics.requests

    @dg.sensor(
        name=pipeline.op(f"new_{pipeline.requests}"),
        target=dg.AssetSelection.assets(key),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts a run of {responses} when {topic_name} holds messages that it has not "
        "seen.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> dg.SensorResult:
        from qa_assets.streaming import data_loss, kafka

        try:
            topic = kafka.end_offsets(settings.kafka, topic_name, timeout_s=_TICK_S)
        except (kafka.TopicMissing, kafka.KafkaUnavailable) as error:
            return dg.SensorResult(skip_reason=str(error))

        now = json.dumps({"topic_id": topic.topic_id, "end_offsets": topic.offsets}, sort_keys=True)
        observation = dg.AssetObservation(
            pipeline.key(pipeline.requests),
            metadata={
                "topic_id": topic.topic_id,
                "messages": topic.total,
                "end_offsets": {str(partition): end for partition, end in topic.offsets.items()},
            },
        )
        observed = [] if now == context.cursor else [observation]
        last = pipeline.last_metadata(context.instance, responses)
        same_topic = last.get("topic_id") == topic.topic_id
        reached = {int(n): end for n, end in last["end_offsets"].items()} if same_topic else {}
        pending = _pending_messages(reached, topic)
        if obstacle := data_loss.resume_error(pipeline.stream(settings), reached, topic):
            reason = obstacle  # a run would only say so again
        elif not pending:
            reason = f"all {topic.total} messages of {topic_name} are answered"
        elif pipeline.store(settings).find(serving) is None:
            reason = f"{pending} messages wait for a {serving}: materialise it first"
        elif run_id := _active_run(context.instance, pipeline, key):
            reason = f"{pending} messages; run {run_id} answers already"
        else:
            return dg.SensorResult(
                run_requests=[
                    # named, though it is the target, for the UI to show it
                    dg.RunRequest(asset_selection=[key], tags={"qa_assets/pending": str(pending)})
                ],
                asset_events=observed,
                cursor=now,
            )
        return dg.SensorResult(skip_reason=reason, asset_events=observed, cursor=now)

    return sensor


def _pending_messages(reached: dict[int, int], topic: "kafka.TopicOffsets") -> int:
    """Messages of the topic behind those offsets."""
    return sum(
        max(0, end - max(reached.get(partition, 0), topic.begin.get(partition, 0)))
        for partition, end in topic.offsets.items()
    )


def _active_run(instance: dg.DagsterInstance, pipeline: Pipeline, key: dg.AssetKey) -> str | None:
    """A run under way that answers, if any."""
    for run in instance.get_runs(filters=UNDER_WAY):
        if run.job_name == pipeline.op("stream") or _materializes(instance, run, key):
            return run.run_id
    return None


def _materializes(instance: dg.DagsterInstance, run: dg.DagsterRun, key: dg.AssetKey) -> bool:
    if run.asset_selection is not None:
        return key in run.asset_selection
    # a run of a whole job names no selection
    if run.execution_plan_snapshot_id is None:
        return False
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return any(step.node_handle_id == key.to_python_identifier() for step in plan.steps)
