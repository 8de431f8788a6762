"""Detects requests that went away before they were answered: expired, deleted, topic recreated.

None is skipped silently. Whether a run stops or goes on is `stream.on_data_loss`; what is lost is
recorded beside the checkpoint, a file for each micro-batch.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.files import write_json
from qa_assets.streaming.kafka import Admin, TopicOffsets

if TYPE_CHECKING:
    from qa_assets.streaming.config import StreamContext

logger = logging.getLogger(__name__)

Range = tuple[int, int]
"""First offset, and the one behind the last."""


class DataLossError(RuntimeError):
    """Requests are gone that were not answered; the message says which, and how to go on."""


def deleted_ranges(reached: Mapping[int, int], topic: TopicOffsets) -> dict[int, Range]:
    """Partition to the offsets from `reached` on that the topic no longer holds."""
    return {
        partition: (offset, topic.begin[partition])
        for partition, offset in reached.items()
        if topic.begin.get(partition, 0) > offset
    }


def resume_error(
    context: "StreamContext", reached: Mapping[int, int], topic: TopicOffsets
) -> str | None:
    """Why a run cannot go on where the last one ended, with the remedy; None if it can.

    Args:
        context: the stream.
        reached: partition to the first offset that is not answered.
        topic: the offsets of the topic of requests.
    """
    name = context.topics.requests
    cut = {part: at for part, at in reached.items() if topic.offsets.get(part, 0) < at}
    if cut:
        return (
            f"{name!r} ends before what was answered already: partition, answered up to, end: "
            + ", ".join(
                f"{part}, {at}, {topic.offsets.get(part, 'none')}" for part, at in cut.items()
            )
            + ". The broker has lost messages, and would give their offsets to others: recreate "
            "the topic, or answer it as another consumer (`topics.consumer_group`, and the answers "
            "moved away)"
        )
    lost = deleted_ranges(reached, topic)
    return _remedy(name, lost) if lost and not context.tolerates_loss else None


def require_resumable(
    context: "StreamContext", reached: Mapping[int, int], topic: TopicOffsets
) -> None:
    """Check that a run can go on where the last one ended; arguments as in `resume_error`.

    Raises:
        DataLossError: requests are lost that may not be, or the topic ends before what was
            answered.
    """
    error = resume_error(context, reached, topic)
    if error is not None:
        raise DataLossError(error)
    added = topic.offsets.keys() - reached.keys()
    if reached and added:
        logger.info(
            "%r has %d more partitions, answered from their beginning; keys may have moved to them",
            context.topics.requests,
            len(added),
        )


class DataLossMonitor:
    """Checks the topic before each micro-batch, since it may change while a run goes on."""

    def __init__(self, context: "StreamContext", start: TopicOffsets, directory: Path) -> None:
        """Connect to the broker.

        Args:
            context: the stream.
            start: the offsets of the topic of requests at the start of the run.
            directory: where losses are recorded.
        """
        self._name, self._tolerant = context.topics.requests, context.tolerates_loss
        self._topic_id, self._directory = start.topic_id, directory
        self._admin = Admin(context.kafka)

    def check(
        self,
        batch_id: int,
        span: Mapping[int, tuple[int | None, int]],
        published: Mapping[int, int],
    ) -> int:
        """Record which requests of a micro-batch are gone.

        Args:
            batch_id: the micro-batch.
            span: its offsets, as `Checkpoint.span` gives them.
            published: partition to the first offset whose response is not published.

        Returns:
            How many are gone.

        Raises:
            DataLossError: requests are gone and may not be, or the topic was recreated.
            KafkaUnavailable: the broker does not answer.
        """
        topic = self._admin.offsets(self._name, timeout_s=15)
        if topic.topic_id != self._topic_id:
            raise DataLossError(
                f"{self._name!r} was deleted and created again while it was answered: the next run "
                "answers the new one from its beginning"
            )
        starts = {
            partition: max(first, published.get(partition, 0))
            for partition, (first, _) in span.items()
            if first is not None
        }
        lost = {
            partition: (first, min(last, span[partition][1]))
            for partition, (first, last) in deleted_ranges(starts, topic).items()
            if first < span[partition][1]
        }
        if not lost:
            return 0
        if not self._tolerant:
            raise DataLossError(_remedy(self._name, lost))
        logger.warning("%s", _describe(self._name, lost))
        self._directory.mkdir(parents=True, exist_ok=True)
        write_json(self._directory / f"batch_id={batch_id}.json", lost)
        return sum(last - first for first, last in lost.values())


def _describe(name: str, lost: Mapping[int, Range]) -> str:
    ranges = ", ".join(
        f"{last - first} of partition {partition} (offsets {first} to {last - 1})"
        for partition, (first, last) in sorted(lost.items())
    )
    return (
        f"messages on {name!r} are gone from the broker before they were answered (deleted by its "
        f"retention, or by hand): {ranges}"
    )


def _remedy(name: str, lost: Mapping[int, Range]) -> str:
    return (
        f"{_describe(name, lost)}. None was skipped. To go on with those that are left, and have "
        "the others recorded as lost, set `stream.on_data_loss: continue`"
    )
