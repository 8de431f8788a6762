"""The sensor that answers what arrives: new messages on the topic of requests start a run.

A tick compares what can be read of the topic with the offsets of the last materialisation of the
responses. A run that came to nothing is tried again as `automation` says; when the sensor stops, it
fails the check `sensor_not_stopped`, which the next materialisation passes. The cursor only
remembers which offsets were reported as observed.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import DagsterRunStatus

from qa_assets.components import automation
from qa_assets.components.pipeline import Pipeline, digest
from qa_assets.settings import Settings

if TYPE_CHECKING:
    from qa_assets.streaming import kafka
    from qa_assets.streaming.config import StreamContext

NOT_STOPPED = "sensor_not_stopped"
_STOPPED = "stopped_by"
_DIGEST = 12
_FINISHED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
UNDER_WAY = dg.RunsFilter(statuses=[s for s in DagsterRunStatus if s not in _FINISHED])
"""Runs that wait or run."""
_TICK_S = 0.8  # a tick must not keep the others waiting, be the broker there or not
_PASS_OVER_S = 3600.0  # see `_nothing_to_answer`


def not_stopped(pipeline: Pipeline) -> dg.AssetCheckSpec:
    """The check of the responses that alerts may be attached to."""
    return dg.AssetCheckSpec(
        NOT_STOPPED,
        asset=pipeline.key(pipeline.responses),
        description=f"`{_name(pipeline)}` starts runs. It fails this check, once for each cause, "
        "when it has stopped, and says why; the next materialisation passes it.",
    )


def new_requests(pipeline: Pipeline, code_version: str) -> dg.SensorDefinition:
    """The sensor `<pipeline>_new_<requests>`; `code_version` is that of the responses."""
    responses = pipeline.responses
    key, topic_name = pipeline.key(responses), pipeline.topics.requests

    @dg.sensor(
        name=_name(pipeline),
        target=dg.AssetSelection.assets(key),
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts a run of {responses} when {topic_name} holds messages that it has not "
        "seen.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> dg.SensorResult:
        from qa_assets.streaming import kafka

        deadline = time.monotonic() + _TICK_S
        try:
            topic = kafka.end_offsets(settings.kafka, topic_name, timeout_s=_TICK_S)
        except (kafka.TopicMissing, kafka.KafkaUnavailable) as error:
            return dg.SensorResult(skip_reason=str(error))
        now = json.dumps({"topic_id": topic.topic_id, "end_offsets": topic.offsets}, sort_keys=True)
        events: list[Any] = []
        if now != context.cursor:
            events.append(_observation(pipeline, topic))
        tick = _Tick(pipeline, settings, context.instance, topic, code_version, deadline)
        decision = tick.decide()
        if decision.tags is not None:
            # named, though it is the target, for the UI to show it
            run = dg.RunRequest(asset_selection=[key], tags=decision.tags)
            return dg.SensorResult(run_requests=[run], asset_events=events, cursor=now)
        reason = decision.reason
        if decision.stopped and not _reported(context.instance, pipeline, decision.stopped):
            context.log.error("%s: %s", key.to_user_string(), reason)
            events.append(
                dg.AssetCheckEvaluation(
                    key,
                    NOT_STOPPED,
                    passed=False,
                    description=reason,
                    metadata={_STOPPED: decision.stopped},
                )
            )
        return dg.SensorResult(skip_reason=reason, asset_events=events, cursor=now)

    return sensor


@dataclass(frozen=True)
class _Decision:
    """Why no run is started, or the tags of the one that is."""

    reason: str = ""
    tags: Mapping[str, str] | None = None
    stopped: str | None = None
    """Set where no later tick would start a run either: what to tell one such stop by."""


@dataclass(frozen=True)
class _Tick:
    """What one tick of the sensor decides by."""

    pipeline: Pipeline
    settings: Settings
    instance: dg.DagsterInstance
    topic: "kafka.TopicOffsets"
    code_version: str
    deadline: float

    def decide(self) -> _Decision:
        """Whether to start a run, with what waits for an open transaction in the reason."""
        from qa_assets.streaming.transactions import open_transaction

        decision = self._decide()
        if decision.reason and (waits := open_transaction(self._stream, self.topic, self._left())):
            return replace(decision, reason=f"{decision.reason}; {waits}")
        return decision

    def _decide(self) -> _Decision:
        from qa_assets.streaming import data_loss
        from qa_assets.streaming.directory import StreamDirectory

        pipeline, topic, name = self.pipeline, self.topic, self.pipeline.topics.requests
        reached = self._reached()
        position = digest(topic.topic_id, reached)[:_DIGEST]
        # the always-on consumer goes on without materialisations
        out, stream = pipeline.stream_directory(self.settings), self._stream
        committed = StreamDirectory(out, topic.topic_id, stream).checkpoint.reached()
        if obstacle := data_loss.resume_error(stream, reached | committed, topic):
            return _Decision(obstacle, stopped=f"lost messages, {position}")
        starts = {part: max(reached.get(part, 0), begin) for part, begin in topic.begin.items()}
        starts = {part: at for part, at in starts.items() if at < topic.offsets[part]}
        pending = sum(topic.offsets[part] - at for part, at in starts.items())
        if not pending:
            return _Decision(f"all {topic.total} messages of {name} are answered")
        served = pipeline.store(self.settings).find(pipeline.config.serving.model)
        if served is None:
            serving = pipeline.config.serving.model
            return _Decision(f"{pending} messages wait for a {serving}: materialise it first")
        if run_id := _active_run(self.instance, pipeline, pipeline.key(pipeline.responses)):
            return _Decision(f"{pending} messages; run {run_id} answers already")
        # the directory: a model that was made again from the same inputs is another try, too
        inputs = pipeline.config, self.settings, self.code_version, served.path.name
        start = automation.Start(
            _name(pipeline), digest(topic.topic_id, *inputs)[:_DIGEST], position
        )
        decision = self._next_try(start, pending)
        if decision.tags is not None and self._nothing_to_answer(starts):
            return _Decision(
                f"all messages of {name} are answered; the {pending} records behind them are of "
                "aborted transactions, or end transactions"
            )
        return decision

    def _next_try(self, start: automation.Start, pending: int) -> _Decision:
        """A run, unless those before it came to nothing."""
        instance, policy = self.instance, self.pipeline.config.stream.retry
        key = self.pipeline.key(self.pipeline.responses)
        last = automation.last_try(instance, start, instance.get_latest_materialization_event(key))
        tags = {"qa_assets/pending": str(pending)}
        if last is None:
            return _Decision(tags=tags | start.tags(1))
        next_at = last.next_at(policy)
        if next_at is not None and time.time() >= next_at:
            return _Decision(tags=tags | start.tags(last.number + 1))
        changes = f"a new version of {self.pipeline.config.serving.model} or other settings"
        tried = (
            f"{pending} messages; tries that came to nothing: {last.number} of {policy.tries}, the "
            f"last in run {last.run_id}: {automation.failure_of(instance, last.run_id)}"
        )
        if next_at is None:
            how = f"put its cause right and materialise {key.to_user_string()}"
            reason = f"stopped. {tried}. To go on, {how}; {changes} are tried at once"
            return _Decision(reason, stopped=f"run {last.run_id}")
        return _Decision(
            f"{tried}. The next is at {automation.time_of_day(next_at)}, or at once with {changes}"
        )

    def _nothing_to_answer(self, starts: Mapping[int, int]) -> bool:
        """Whether behind the answered messages there are only records that nobody reads.

        A run would only pass over them. It does once they are an hour old: if they were deleted
        before, they would be taken for messages that are lost.
        """
        from qa_assets.streaming.transactions import first_written, holds_messages

        if holds_messages(self._stream, starts, self._left()):
            return False
        written = first_written(self._stream, starts, self._left())
        return written is None or time.time() - written < _PASS_OVER_S

    def _reached(self) -> dict[int, int]:
        """Partition to the first offset that the last materialisation did not reach."""
        last = self.pipeline.last_metadata(self.instance, self.pipeline.responses)
        if last.get("topic_id") != self.topic.topic_id:
            return {}
        return {int(partition): end for partition, end in last["end_offsets"].items()}

    @property
    def _stream(self) -> "StreamContext":
        return self.pipeline.stream(self.settings)

    def _left(self) -> float:
        """Seconds that the tick may still take, and enough to ask a broker that answers."""
        return max(0.1, self.deadline - time.monotonic())


def _name(pipeline: Pipeline) -> str:
    return pipeline.op(f"new_{pipeline.requests}")


def _observation(pipeline: Pipeline, topic: "kafka.TopicOffsets") -> dg.AssetObservation:
    return dg.AssetObservation(
        pipeline.key(pipeline.requests),
        metadata={
            "topic_id": topic.topic_id,
            "messages": topic.total,
            "waiting_for_transaction": sum(topic.unstable.values()),
            "end_offsets": {str(partition): end for partition, end in topic.offsets.items()},
        },
    )


def _reported(instance: dg.DagsterInstance, pipeline: Pipeline, stopped: str) -> bool:
    """Whether the check says already that the sensor has stopped, for the same cause."""
    key = dg.AssetCheckKey(pipeline.key(pipeline.responses), NOT_STOPPED)
    record = instance.get_latest_asset_check_evaluation_record(key)
    last = record.evaluation if record else None
    if not isinstance(last, dg.AssetCheckEvaluation) or last.passed:  # or only planned
        return False
    return last.metadata[_STOPPED].value == stopped


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
