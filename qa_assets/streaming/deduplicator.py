"""The ids that were answered before, so that a question asked again can be marked.

A small database beside the checkpoint: looking up a batch costs the same however large the table
has become. It can be made anew from the table, and is, where it is missing.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from qa_assets.core.files import replacing
from qa_assets.streaming.table import read_answers

Place = tuple[str, int, int]
"""Id, partition and offset of a question."""


class Seen:
    """Which question was the first of its id."""

    def __init__(self, path: Path, out: Path, topic_id: str) -> None:
        """Open the database, or make it from the table.

        Args:
            path: its file.
            out: the directory of the answers.
            topic_id: the part of the table that it belongs to.
        """
        self._path = path
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            table = read_answers(out, topic_id).sort_values(["batch_id", "partition", "offset"])
            with replacing(path) as unfinished:
                _add(unfinished, table[["id", "partition", "offset"]].itertuples(index=False))

    def duplicates(self, questions: Iterable[Place]) -> set[tuple[int, int]]:
        """Partition and offset of those that are not the first of their id.

        Those that are become known by it. A batch that is repeated gets the same said again.

        Args:
            questions: of one batch, in the order in which they count as asked.
        """
        asked = list(questions)
        with closing(sqlite3.connect(self._path)) as database, database:
            _insert(database, asked)
            found = [
                database.execute("select part, at from seen where id = ?", (one[0],)).fetchone()
                for one in asked
            ]
        return {
            (part, at)
            for (_, part, at), first in zip(asked, found, strict=True)
            if first != (part, at)
        }


def _add(path: Path, questions: Iterable[Place]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table seen (id text primary key, part int, at int) without rowid")
        _insert(database, questions)


def _insert(database: sqlite3.Connection, questions: Iterable[Place]) -> None:
    rows = ((name, int(part), int(at)) for name, part, at in questions)
    database.executemany("insert or ignore into seen values (?, ?, ?)", rows)
