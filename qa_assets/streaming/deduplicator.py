"""Finds requests whose id was answered before, so that their responses can be marked.

A SQLite file beside the checkpoint: looking up a micro-batch costs the same however large the table
is. A file that is missing is rebuilt from the table.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from qa_assets.core.files import replacing
from qa_assets.streaming.table import ResponseTable

Request = tuple[str, int, int]
"""Id, partition and offset."""


class Deduplicator:
    """The first request of each id."""

    def __init__(self, path: Path, table: ResponseTable) -> None:
        """Open the file, or build it from the table."""
        self._path = path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = table.read(["id", "partition", "offset", "batch_id"])
            rows = rows.sort_values(["batch_id", "partition", "offset"])
            with replacing(path) as unfinished:
                _create(unfinished, rows[["id", "partition", "offset"]].itertuples(index=False))

    def duplicates(self, requests: Iterable[Request]) -> set[tuple[int, int]]:
        """Partition and offset of the requests that are not the first of their id.

        Those that are first are remembered. A repeated micro-batch gets the same result.

        Args:
            requests: of a micro-batch; the earlier in this order counts as the first.
        """
        batch = list(requests)
        with closing(sqlite3.connect(self._path)) as database, database:
            _insert(database, batch)
            firsts = [
                database.execute("select part, at from requests where id = ?", (name,)).fetchone()
                for name, _, _ in batch
            ]
        return {
            (partition, offset)
            for (_, partition, offset), first in zip(batch, firsts, strict=True)
            if first != (partition, offset)
        }


def _create(path: Path, requests: Iterable[Request]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "create table requests (id text primary key, part int, at int) without rowid"
        )
        _insert(database, requests)


def _insert(database: sqlite3.Connection, requests: Iterable[Request]) -> None:
    rows = ((name, int(partition), int(offset)) for name, partition, offset in requests)
    database.executemany("insert or ignore into requests values (?, ?, ?)", rows)
