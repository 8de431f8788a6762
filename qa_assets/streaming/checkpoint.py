"""Reading Spark's checkpoint: what a batch is made of, and how far the stream has come."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a query on one topic, as Structured Streaming writes it."""

    path: Path
    topic: str

    @property
    def exists(self) -> bool:
        """Whether a batch was ever begun."""
        return (self.path / "offsets").exists()

    @property
    def pending(self) -> bool:
        """Whether a batch was begun that is not done."""
        return max(self._batches("offsets"), default=-1) > max(self._batches("commits"), default=-1)

    def reached(self) -> dict[int, int]:
        """Partition to the first offset that is not dealt with; empty without a checkpoint."""
        done = self._batches("commits")
        return self._ends(max(done)) if done else {}

    def span(self, batch_id: int) -> dict[int, tuple[int | None, int]]:
        """Partition to a batch's first offset (None: wherever the partition begins) and its end."""
        ends = self._ends(batch_id)
        before = self._ends(batch_id - 1) if batch_id > 0 else {}
        return {partition: (before.get(partition), end) for partition, end in ends.items()}

    def _ends(self, batch_id: int) -> dict[int, int]:
        # a line of version, one of the batch, one a source
        source = (self.path / "offsets" / str(batch_id)).read_text().splitlines()[2]
        return {int(partition): end for partition, end in json.loads(source)[self.topic].items()}

    def _batches(self, log: str) -> list[int]:
        return [int(path.name) for path in (self.path / log).glob("*") if path.name.isdigit()]
