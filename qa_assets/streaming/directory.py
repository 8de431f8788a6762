"""Where the files of a stream lie: the table, and for each topic id the consumer's state."""

from dataclasses import dataclass
from pathlib import Path

from qa_assets.streaming.checkpoint import Checkpoint
from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.table import ResponseTable


@dataclass(frozen=True)
class StreamDirectory:
    """The files that belong to one topic id.

    Attributes:
        out: the directory of the stream.
        topic_id: of the topic of requests.
        context: the stream.
    """

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
        """Ids of topics that were answered before this one."""
        return tuple(sorted(path.parent.name for path in self.out.glob("*/checkpoint")))
