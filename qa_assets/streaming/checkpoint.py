"""Reading Spark's checkpoint: the offsets of a micro-batch, and how far the query has come."""

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
        """Whether a micro-batch was ever begun."""
        return (self.path / "offsets").exists()

    @property
    def pending(self) -> bool:
        """Whether a micro-batch was begun and not committed."""
        return max(self._batches("offsets"), default=-1) > max(self._batches("commits"), default=-1)

    def reached(self) -> dict[int, int]:
        """Partition to the first offset that is not committed; empty without a checkpoint."""
        committed = self._batches("commits")
        return self._ends(max(committed)) if committed else {}

    def span(self, batch_id: int) -> dict[int, tuple[int | None, int]]:
        """The offsets of a micro-batch.

        Returns:
            Partition to the first (None: wherever the partition begins) and the one behind the
            last.
        """
        ends = self._ends(batch_id)
        before = self._ends(batch_id - 1) if batch_id > 0 else {}
        return {partition: (before.get(partition), end) for partition, end in ends.items()}

    def _ends(self, batch_id: int) -> dict[int, int]:
        # lines: the version, the batch's metadata, then each source
        source = (self.path / "offsets" / str(batch_id)).read_text().splitlines()[2]
        return {int(partition): end for partition, end in json.loads(source)[self.topic].items()}

    def _batches(self, log: str) -> list[int]:
        return [int(path.name) for path in (self.path / log).glob("*") if path.name.isdigit()]
