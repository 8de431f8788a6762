"""When an automation may start a run again whose last one came to nothing.

A run that fails for a reason that stays would else be started at every tick, for ever. What is
known of earlier tries is in the tags of the automation's runs, so it outlives daemon and cursor. A
try has come to nothing when its run failed, whatever it did before, or moved nothing on. The next
one waits for a growing pause, and there is none after a number of tries, until the cause may have
changed: `Start.cause` is another, or somebody else's run has succeeded.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType

from qa_assets.core.retries import RetryPolicy

AUTOMATION, CAUSE = "qa_assets/automation", "qa_assets/cause"
POSITION, TRY = "qa_assets/position", "qa_assets/try"
_FAILURES = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
_MAX_ERROR = 300


@dataclass(frozen=True)
class Start:
    """What a run of an automation would start from."""

    automation: str
    """Its name, unique in the code location."""
    cause: str
    """Digest of what decides whether the run can succeed: model, settings, code, and no data."""
    position: str
    """Digest of what was reached before the run; one that moves something on changes it."""

    def tags(self, number: int) -> dict[str, str]:
        """The tags of the run that is the try of this number."""
        tags = {AUTOMATION: self.automation, CAUSE: self.cause, POSITION: self.position}
        return tags | {TRY: str(number)}


@dataclass(frozen=True)
class Try:
    """A run of an automation that came to nothing."""

    number: int
    """Counted from the last success, or from the last change of the cause."""
    run_id: str
    ended: float
    """Seconds since the epoch."""

    def next_at(self, policy: RetryPolicy) -> float | None:
        """From when on the next try may begin; None: never, unless the cause changes."""
        if self.number >= policy.tries:
            return None
        return self.ended + policy.pause_after(self.number)


def last_try(
    instance: dg.DagsterInstance, start: Start, last_materialization: dg.EventLogEntry | None
) -> Try | None:
    """The automation's last run, if it came to nothing from the same cause.

    No run of it is under way. `last_materialization` is that of the asset that it makes.
    """
    filters = dg.RunsFilter(tags={AUTOMATION: start.automation})
    record = next(iter(instance.get_run_records(filters, limit=1)), None)
    if record is None:
        return None
    run = record.dagster_run
    ended = record.end_time or record.create_timestamp.timestamp()
    moved = run.is_success and run.tags[POSITION] != start.position
    if run.tags[CAUSE] != start.cause or moved:
        return None
    event = last_materialization
    if event is not None and event.run_id != run.run_id and event.timestamp > ended:
        other = instance.get_run_by_id(event.run_id)
        if other is None or other.is_success:
            return None
    return Try(int(run.tags[TRY]), run.run_id, ended)


def failure_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first line of a run's error; how it ended, if it has none."""
    records = instance.get_records_for_run(run_id, of_type=_FAILURES, limit=1).records
    if not records:
        run = instance.get_run_by_id(run_id)
        return f"it ended as {run.status.value}" if run else "it is not known any more"
    event = records[0].event_log_entry
    data = event.dagster_event.event_specific_data if event.dagster_event else None
    error = getattr(data, "error", None)
    while error is not None and error.cause and error.cls_name.startswith("Dagster"):
        error = error.cause  # what Dagster wrapped
    text = error.message if error is not None else event.message
    lines = str(text).strip().splitlines()
    first = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return first[:_MAX_ERROR].rstrip(".")


def time_of_day(time: float) -> str:
    """A time of day, with the day if it is not today's."""
    at, now = datetime.fromtimestamp(time, UTC), datetime.now(UTC)
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
