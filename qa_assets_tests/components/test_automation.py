"""When an automation starts a run again: real runs and a real instance, through simulated hours."""

import time
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from qa_assets.components.automation import Start, Try, failure_of, last_try, time_of_day
from qa_assets.core.retries import RetryPolicy
from qa_assets_tests.components.clock import Clock

START = Start("watcher", cause="model 1", position="offset 0")
KEY = dg.AssetKey("made")


@dg.asset(key=KEY)
def made(context: dg.AssetExecutionContext) -> None:
    """Fails where the run's tags say so."""
    if "fails" in context.run.tags:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("it cannot be made\nin detail") from error


JOB = dg.Definitions([made]).resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(instance: dg.DagsterInstance, tags: dict[str, str], fails: bool = False) -> str:
    tags = tags | ({"fails": "yes"} if fails else {})
    return JOB.execute_in_process(instance=instance, tags=tags, raise_on_error=False).run_id


def last(instance: dg.DagsterInstance, start: Start = START) -> Try | None:
    return last_try(instance, start, instance.get_latest_materialization_event(KEY))


def test_pauses_grow_and_end_through_simulated_hours(
    instance: dg.DagsterInstance, simulated: Clock
) -> None:
    policy, began, starts = RetryPolicy(), time.time(), []
    while time.time() - began < 6 * 3600:
        earlier = last(instance)
        at = earlier.next_at(policy) if earlier else 0.0
        if at is not None and time.time() >= at:
            starts.append((time.time() - began) / 60)
            run(instance, START.tags(earlier.number + 1 if earlier else 1), fails=True)
        simulated.forward(60)
    assert starts == pytest.approx([0, 1, 3, 7, 15, 31, 63, 123, 183, 243], abs=9)
    final = last(instance)
    assert final is not None
    assert final.number == policy.tries == 10


def test_only_another_cause_counts_anew(instance: dg.DagsterInstance) -> None:
    run(instance, START.tags(1), fails=True)
    failed = run(instance, START.tags(2), fails=True)
    found = last(instance)
    assert found is not None
    assert (found.number, found.run_id) == (2, failed)
    # a failed run that moved something on has failed
    assert last(instance, replace(START, position="offset 9")) == found
    assert last(instance, replace(START, cause="model 2")) is None
    assert last(instance, replace(START, automation="another")) is None


def test_a_run_that_succeeds_and_moves_nothing_has_come_to_nothing(
    instance: dg.DagsterInstance,
) -> None:
    run(instance, START.tags(4))
    unmoved = last(instance)
    assert unmoved is not None
    assert unmoved.number == 4
    assert last(instance, replace(START, position="offset 9")) is None


def test_a_run_by_hand_counts_anew_when_it_succeeds(instance: dg.DagsterInstance) -> None:
    run(instance, {})  # before the failure: it says nothing of it
    run(instance, START.tags(1), fails=True)
    assert last(instance) is not None
    run(instance, {}, fails=True)
    assert last(instance) is not None
    run(instance, {})
    assert last(instance) is None


def test_a_run_that_was_ended_or_never_began_counts(instance: dg.DagsterInstance) -> None:
    ended = instance.create_run_for_job(JOB, tags=START.tags(1))
    instance.report_run_canceled(ended)
    canceled = last(instance)
    assert canceled is not None
    assert canceled.ended == pytest.approx(time.time(), abs=60)
    assert failure_of(instance, ended.run_id) == f"it ended as {DagsterRunStatus.CANCELED.value}"
    lost = instance.create_run_for_job(JOB, tags=START.tags(2))
    instance.report_run_failed(lost, "its process is gone\nand more")
    assert failure_of(instance, lost.run_id) == "its process is gone"
    instance.delete_run(lost.run_id)
    assert failure_of(instance, lost.run_id) == "it is not known any more"


def test_an_error_is_told_by_its_own_first_line(instance: dg.DagsterInstance) -> None:
    """Not by Dagster's wrapping of it, and not by what caused it."""
    failed = run(instance, {}, fails=True)
    assert failure_of(instance, failed) == "RuntimeError: it cannot be made"


def test_pauses_end_at_the_longest() -> None:
    policy = RetryPolicy(pause_s=10, max_pause_s=50, tries=9999)
    assert [policy.pause_after(n) for n in (1, 2, 3, 4, 5, 5000)] == [10, 20, 40, 50, 50, 50]
    assert Try(9998, "run", 100.0).next_at(policy) == 150
    assert Try(9999, "run", 100.0).next_at(policy) is None


def test_a_time_of_another_day_has_its_day() -> None:
    assert time_of_day(86_400 + 3_660) == "1970-01-02 01:01 UTC"
    assert len(time_of_day(time.time())) == len("01:01 UTC")
