"""Detects requests that went away before they were answered: expired, deleted, topic recreated.

`stream.on_data_loss` says whether a run then fails, or goes on and records what is lost beside the
checkpoint, in a file for each micro-batch.
"""

import logging
from collections.abc import Mapping

from qa_assets.core.files import write_json
from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.directory import StreamDirectory
from qa_assets.streaming.kafka import Admin, TopicOffsets

logger = logging.getLogger(__name__)

Range = tuple[int, int]
"""First offset, and the one behind the last."""


class DataLossError(RuntimeError):
    """Unanswered requests are gone; the message says which, and how to go on."""


def resume_error(
    context: StreamContext, reached: Mapping[int, int], topic: TopicOffsets
) -> str | None:
    """Why a run cannot go on from the offsets in `reached`, with the remedy; None if it can."""
    name = context.topics.requests
    cut = [
        f"{part}, {at}, {topic.offsets.get(part, 'none')}"
        for part, at in reached.items()
        if topic.offsets.get(part, 0) < at
    ]
    if cut:
        return (
            f"{name!r} ends before what was answered already: partition, answered up to, end: "
            f"{', '.join(cut)}. The broker has lost messages, and would give their offsets to "
            "others: recreate the topic, or answer it as another consumer "
            "(`topics.consumer_group`, and the answers moved away)"
        )
    begin = topic.begin
    lost = {part: (at, begin[part]) for part, at in reached.items() if at < begin.get(part, 0)}
    return _remedy(name, lost) if lost and not context.tolerates_loss else None


def record_loss(
    directory: StreamDirectory,
    admin: Admin,
    batch_id: int,
    span: Mapping[int, tuple[int | None, int]],
    published: Mapping[int, int],
) -> int:
    """Record which requests of a micro-batch are gone; returns how many.

    Called before each micro-batch, since the topic may change during a run. Requests before the
    offsets in `published` have been answered.

    Raises:
        DataLossError: requests are gone and `on_data_loss` is `fail`, or the topic was deleted and
            created again.
        KafkaUnavailable: the broker does not answer.
    """
    context = directory.context
    name = context.topics.requests
    topic = admin.offsets(name, timeout_s=15)
    if topic.topic_id != directory.topic_id:
        raise DataLossError(
            f"{name!r} was deleted and created again while it was answered: the next run "
            "answers the new one from its beginning"
        )
    lost = {}
    for partition, (first, end) in span.items():
        if first is not None:
            unanswered = max(first, published.get(partition, 0))
            begin = min(end, topic.begin.get(partition, 0))
            if unanswered < begin:
                lost[partition] = (unanswered, begin)
    if not lost:
        return 0
    if not context.tolerates_loss:
        raise DataLossError(_remedy(name, lost))
    logger.warning("%s", _describe(name, lost))
    records = directory.state / "lost"
    records.mkdir(parents=True, exist_ok=True)
    write_json(records / f"batch_id={batch_id}.json", lost)
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
