"""The table of answers: a directory a topic id, in it one a batch, each put in place at once."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEY = ["partition", "offset"]


def schema() -> "pa.Schema":
    """The columns of a batch's file."""
    import pyarrow as pa

    at = pa.timestamp("us", tz="UTC")
    return pa.schema(
        {
            "id": pa.string(),
            "question": pa.string(),
            "answer": pa.string(),
            "confidence": pa.float64(),
            "model_version": pa.string(),
            "topic": pa.string(),
            "partition": pa.int32(),
            "offset": pa.int64(),
            "duplicate": pa.bool_(),
            "asked_at": at,
            "answered_at": at,
            "metadata": pa.map_(pa.string(), pa.string()),
            # of the question's message
            "key": pa.binary(),
            "headers": pa.list_(pa.struct({"key": pa.string(), "value": pa.binary()})),
        }
    )


def write_batch(place: Path, rows: Sequence[Mapping[str, Any]], staging: Path) -> None:
    """Write the rows of a batch to the directory `place`, which appears whole or not at all.

    Raises:
        OSError: the disk is full, or another process has put a batch in that place meanwhile.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema()), staging / "answers.parquet")
    place.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(place)


def read_batch(place: Path) -> list[dict[str, Any]]:
    """The rows that `write_batch` put there, in the order of partition and offset."""
    import pyarrow.parquet as pq

    # as a file: of a dataset, the names of its directories would become columns
    with (place / "answers.parquet").open("rb") as file:
        rows: list[dict[str, Any]] = pq.read_table(file, schema=schema()).to_pylist()
    return sorted(rows, key=lambda row: (row["partition"], row["offset"]))


def read_answers(out: Path, topic_id: str) -> "pd.DataFrame":
    """All answers to one topic, empty with the columns of the table if there is none yet."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    table = out / "table" / f"topic_id={topic_id}"
    columns = schema().append(pa.field("batch_id", pa.int64()))
    hive = ds.partitioning(pa.schema({"batch_id": pa.int64()}), flavor="hive")
    files = sorted(str(path) for path in table.glob("batch_id=*/*.parquet"))
    found = (
        ds.dataset(files, schema=columns, partitioning=hive, format="parquet") if files else None
    )
    rows = found.to_table() if found is not None else columns.empty_table()
    frame: pd.DataFrame = rows.to_pandas()
    return frame.assign(topic_id=topic_id)


def answers_of_feed(out: Path, feed: Path, topic_id: str) -> "pd.DataFrame":
    """A row a sent question with `answer, asked_at, answered_at`, null where none is there.

    Args:
        out: the directory of the answers.
        feed: the directory that holds `sent.parquet`.
        topic_id: the topic that the feed was sent to.
    """
    import pandas as pd

    sent = pd.read_parquet(feed / "sent.parquet")
    columns = [*KEY, "answer", "model_version", "asked_at", "answered_at"]
    return sent.merge(read_answers(out, topic_id)[columns], on=KEY, how="left")
