"""Notices that messages went away before they were answered: expired, deleted, topic made anew.

Nothing is skipped in silence. Whether a run stops or goes on is the setting `on_data_loss`; what is
lost is written beside the checkpoint, a file a batch.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.files import write_json
from qa_assets.streaming.kafka import Admin, TopicOffsets

if TYPE_CHECKING:
    from qa_assets.streaming.config import KafkaSettings

logger = logging.getLogger(__name__)

Range = tuple[int, int]
"""First offset, and the one behind the last."""


class DataLossError(RuntimeError):
    """Messages are gone that were not answered; says which and how to go on."""


def gone(reached: Mapping[int, int], topic: TopicOffsets) -> dict[int, Range]:
    """Partition to the offsets behind `reached` that the topic holds no more."""
    return {
        partition: (offset, topic.begin[partition])
        for partition, offset in reached.items()
        if topic.begin.get(partition, 0) > offset
    }


def in_words(name: str, lost: Mapping[int, Range]) -> str:
    """Lost ranges in words."""
    ranges = ", ".join(
        f"{last - first} of partition {partition} (offsets {first} to {last - 1})"
        for partition, (first, last) in sorted(lost.items())
    )
    return (
        f"messages on {name!r} are gone from the broker before they were answered (deleted by its "
        f"retention, or by hand): {ranges}"
    )


def remedy(name: str, lost: Mapping[int, Range]) -> str:
    """What is lost, and how to go on all the same."""
    return (
        f"{in_words(name, lost)}. None was skipped. To go on with those that are left, and have "
        "the others written down as lost, set QA_ASSETS_STREAM_ON_DATA_LOSS=continue"
    )


def objection(
    name: str, reached: Mapping[int, int], topic: TopicOffsets, *, go_on: bool
) -> str | None:
    """Why a run cannot go on where the last one ended, with the remedy; None if it can.

    Args:
        name: of the topic.
        reached: partition to the first offset that is not dealt with.
        topic: where the topic stands.
        go_on: whether messages may be lost.
    """
    cut = {part: at for part, at in reached.items() if topic.offsets.get(part, 0) < at}
    if cut:
        return (
            f"{name!r} ends before what was answered already: partition, answered up to, end: "
            + ", ".join(
                f"{part}, {at}, {topic.offsets.get(part, 'none')}" for part, at in cut.items()
            )
            + ". The broker has lost messages, and would give their offsets to others: make the "
            "topic anew, or answer it as another consumer (QA_ASSETS_KAFKA_CONSUMER_GROUP, "
            "and the answers moved away)"
        )
    lost = gone(reached, topic)
    return remedy(name, lost) if lost and not go_on else None


def require_whole(
    name: str, reached: Mapping[int, int], topic: TopicOffsets, *, go_on: bool
) -> None:
    """See that a run can go on where the last one ended; arguments as in `objection`.

    Raises:
        DataLossError: messages may not be lost and are, or the topic ends before what was answered.
    """
    why = objection(name, reached, topic, go_on=go_on)
    if why is not None:
        raise DataLossError(why)
    new = topic.offsets.keys() - reached.keys()
    if reached and new:
        logger.info(
            "%r has %d more partitions, answered from their beginning; keys may have moved to them",
            name,
            len(new),
        )


class Watch:
    """Looks at the topic before each batch, since it may change while a run goes on."""

    def __init__(
        self, kafka: "KafkaSettings", start: TopicOffsets, place: Path, *, go_on: bool
    ) -> None:
        """Take what the topic was at the start.

        Args:
            kafka: the broker and its topics.
            start: where the topic of questions stood.
            place: the directory to write losses to.
            go_on: whether messages may be lost.
        """
        self._go_on = go_on
        self._name, self._topic_id, self._place = kafka.questions_topic, start.topic_id, place
        self._admin = Admin(kafka)
        self.partitions = list(start.offsets)

    def look(
        self,
        batch_id: int,
        span: Mapping[int, tuple[int | None, int]],
        told_of: Mapping[int, int],
    ) -> int:
        """Note which messages of a batch are gone.

        Args:
            batch_id: the batch.
            span: partition to its first offset (None: wherever the partition begins) and end.
            told_of: partition to the first offset that was not told of yet.

        Returns:
            How many are gone.

        Raises:
            DataLossError: messages are gone and may not be, or it is another topic by now.
            KafkaUnavailable: the broker does not answer.
        """
        now = self._admin.offsets(self._name, timeout_s=15)
        if now.topic_id != self._topic_id:
            raise DataLossError(
                f"{self._name!r} was deleted and made anew while it was answered: the next run "
                "answers the new one from its beginning"
            )
        starts = {
            partition: max(first, told_of.get(partition, 0))
            for partition, (first, _) in span.items()
            if first is not None
        }
        lost = {
            partition: (first, min(last, span[partition][1]))
            for partition, (first, last) in gone(starts, now).items()
            if first < span[partition][1]
        }
        if not lost:
            return 0
        if not self._go_on:
            raise DataLossError(remedy(self._name, lost))
        logger.warning("%s", in_words(self._name, lost))
        self._place.mkdir(parents=True, exist_ok=True)
        write_json(self._place / f"batch_id={batch_id}.json", lost)
        return count(lost.values())


def count(ranges: Iterable[Range]) -> int:
    """Messages in ranges of offsets."""
    return sum(last - first for first, last in ranges)
