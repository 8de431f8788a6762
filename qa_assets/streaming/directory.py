"""Where the files of a stream lie: the table, and for each topic id the consumer's state."""

import json
from dataclasses import dataclass
from pathlib import Path

from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.table import ResponseTable


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a query on one topic, as Structured Streaming writes it."""

    path: Path
    topic: str

    @property
    def exists(self) -> bool:
        """Whether a micro-batch was ever begun."""
        return (self.path / "offsets").exists()

    @property
    def pending(self) -> bool:
        """Whether a micro-batch was begun and not committed."""
        return self._last("offsets") > self._last("commits")

    def reached(self) -> dict[int, int]:
        """Partition to the first offset that is not committed; empty without a checkpoint."""
        return self._ends(self._last("commits"))

    def span(self, batch_id: int) -> dict[int, tuple[int | None, int]]:
        """Partition to the first offset of a micro-batch, and the one behind the last.

        The first is None where the micro-batch starts at the beginning of the partition.
        """
        before, ends = self._ends(batch_id - 1), self._ends(batch_id)
        return {partition: (before.get(partition), end) for partition, end in ends.items()}

    def _ends(self, batch_id: int) -> dict[int, int]:
        if batch_id < 0:
            return {}
        # lines: the version, the batch's metadata, then each source
        source = (self.path / "offsets" / str(batch_id)).read_text().splitlines()[2]
        return {int(partition): end for partition, end in json.loads(source)[self.topic].items()}

    def _last(self, log: str) -> int:
        """The last micro-batch of a log; -1 if there is none."""
        names = (path.name for path in (self.path / log).glob("*"))
        return max((int(name) for name in names if name.isdigit()), default=-1)


@dataclass(frozen=True)
class StreamDirectory:
    """The files that belong to one id of the topic of requests."""

    out: Path
    topic_id: str
    context: StreamContext

    @property
    def table(self) -> ResponseTable:
        """The responses."""
        return ResponseTable(self.out, self.topic_id, self.context.task.messages)

    @property
    def state(self) -> Path:
        """The directory of checkpoint, lock, known ids, recorded losses and unfinished files."""
        return self.out / self.topic_id

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint of Spark's query."""
        return Checkpoint(self.state / "checkpoint", self.context.topics.requests)

    def earlier_topics(self) -> tuple[str, ...]:
        """Ids of topics that were answered before this one; none once this one is."""
        if self.checkpoint.exists:
            return ()
        return tuple(sorted(path.parent.name for path in self.out.glob("*/checkpoint")))
