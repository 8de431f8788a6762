"""Finds requests whose id was answered before, so that their responses can be marked.

The ids are in a SQLite file, so that a look-up costs the same however large the table is.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from qa_assets.core.files import replacing
from qa_assets.streaming.table import KEY, ResponseTable

Request = tuple[str, int, int]
"""Id, partition and offset."""


class Deduplicator:
    """The first request of each id."""

    def __init__(self, path: Path, table: ResponseTable) -> None:
        """Open the file; if it is missing, build it from the table."""
        self._path = path
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = table.read(["id", *KEY, "batch_id"]).sort_values(["batch_id", *KEY])
        with (
            replacing(path) as unfinished,
            closing(sqlite3.connect(unfinished)) as database,
            database,
        ):
            database.execute(
                "create table requests (id text primary key, part int, at int) without rowid"
            )
            _insert(database, rows[["id", *KEY]].itertuples(index=False))

    def duplicates(self, requests: Iterable[Request]) -> set[tuple[int, int]]:
        """Partition and offset of the requests of a micro-batch that are not the first of their id.

        First requests are stored, so that a repeated micro-batch gets the same result.
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


def _insert(database: sqlite3.Connection, requests: Iterable[Request]) -> None:
    rows = ((name, int(partition), int(offset)) for name, partition, offset in requests)
    database.executemany("insert or ignore into requests values (?, ?, ?)", rows)
