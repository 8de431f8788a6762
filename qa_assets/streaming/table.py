"""The Parquet table of responses, a directory for each topic id and micro-batch; its index of ids.

The directory of a micro-batch appears by a rename, whole or not at all.
"""

import shutil
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core.descriptions import Messages
from qa_assets.core.examples import Prediction
from qa_assets.core.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEY = ["partition", "offset"]
_FILE = "responses.parquet"
_INSERT = "insert or ignore into requests values (?, ?, ?)"


@dataclass(frozen=True)
class ResponseTable:
    """The responses to the topic of requests with this id; `out` is the stream's directory."""

    out: Path
    topic_id: str
    messages: Messages

    @property
    def path(self) -> Path:
        """Where the micro-batches' directories lie."""
        return self.out / "table" / f"topic_id={self.topic_id}"

    def schema(self) -> "pa.Schema":
        """The columns of a file."""
        import pyarrow as pa

        time, text_map = pa.timestamp("us", tz="UTC"), pa.map_(pa.string(), pa.string())
        return pa.schema(
            {
                "id": pa.string(),
                **dict.fromkeys(self.messages.kept_inputs, pa.string()),
                **{name: _arrow_type(rule) for name, rule in self.messages.outputs.items()},
                "prediction": prediction_type(),  # the outputs are the task's response to it
                "model_version": pa.string(),
                "topic": pa.string(),
                "partition": pa.int32(),
                "offset": pa.int64(),
                "duplicate": pa.bool_(),
                "asked_at": time,
                "answered_at": time,
                "metadata": text_map,
                # of the request's message
                "key": pa.binary(),
                "headers": pa.list_(pa.struct({"key": pa.string(), "value": pa.binary()})),
            }
        )

    def has_batch(self, batch_id: int) -> bool:
        """Whether a micro-batch was written."""
        return self._batch(batch_id).exists()

    def write_batch(
        self, batch_id: int, rows: Sequence[Mapping[str, Any]], staging: Path
    ) -> list[dict[str, Any]]:
        """Write the rows of a micro-batch, with the columns of `schema`; maps are dictionaries.

        They are first written to `staging`, a directory of this process on the same disk.

        Returns:
            The rows, as `read_batch` reads them.

        Raises:
            OSError: the disk is full, or another process wrote the micro-batch meanwhile.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        table = pa.Table.from_pylist(list(rows), schema=self.schema())
        pq.write_table(table, staging / _FILE)
        self.path.mkdir(parents=True, exist_ok=True)
        staging.rename(self._batch(batch_id))
        return _rows(table)

    def read_batch(self, batch_id: int) -> list[dict[str, Any]]:
        """The rows of a micro-batch by partition and offset; maps are dictionaries."""
        import pyarrow.parquet as pq

        # as a file: of a dataset, the names of its directories would become columns
        with (self._batch(batch_id) / _FILE).open("rb") as file:
            return _rows(pq.read_table(file, schema=self.schema()))

    def read(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """All rows, with `batch_id` and `topic_id`, or only these columns and `topic_id`."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        schema = self.schema().append(pa.field("batch_id", pa.int64()))
        hive = ds.partitioning(pa.schema({"batch_id": pa.int64()}), flavor="hive")
        files = sorted(str(path) for path in self.path.glob("batch_id=*/*.parquet"))
        dataset = ds.dataset(files, schema=schema, partitioning=hive, format="parquet")
        frame: pd.DataFrame = dataset.to_table(columns).to_pandas()
        return frame.assign(topic_id=self.topic_id)

    def _batch(self, batch_id: int) -> Path:
        return self.path / f"batch_id={batch_id}"


class Deduplicator:
    """The first request of each id; in SQLite, for a look-up to cost the same at any size."""

    def __init__(self, path: Path, table: ResponseTable) -> None:
        """Open the file; if it is missing, build it from the table."""
        if not path.exists():
            rows = table.read(["id", *KEY, "batch_id"]).sort_values(["batch_id", *KEY])
            with replacing(path) as new, closing(sqlite3.connect(new)) as database, database:
                database.execute(
                    "create table requests (id text primary key, part int, at int) without rowid"
                )
                database.executemany(_INSERT, rows[["id", *KEY]].itertuples(index=False, name=None))
        # a micro-batch is processed in any thread, one at a time
        self._database = sqlite3.connect(path, check_same_thread=False)
        # no wait for the disk: the table is written without one, too
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = off")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def duplicates(self, batch: Collection[tuple[str, int, int]]) -> set[tuple[int, int]]:
        """Partition and offset of the requests of a micro-batch that are not the first of their id.

        The micro-batch: id, partition and offset of each. First requests are stored, so that a
        repeated micro-batch gets the same result.
        """
        with self._database as database:
            database.executemany(_INSERT, batch)
        first = "select part, at from requests where id = ?"
        return {
            (partition, offset)
            for name, partition, offset in batch
            if self._database.execute(first, (name,)).fetchone() != (partition, offset)
        }


def _rows(table: "pa.Table") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="strict")
    return sorted(rows, key=lambda row: (row["partition"], row["offset"]))


def prediction_type() -> "pa.DataType":
    """The type of a column of predictions, as a `serving.Predictor` adds it."""
    import pyarrow as pa

    probabilities = pa.map_(pa.string(), pa.float64())
    return pa.struct(
        {"text": pa.string(), "confidence": pa.float64(), "probabilities": probabilities}
    )


def to_prediction(value: Any) -> Prediction:
    """A value of such a column, from Spark, Arrow or pandas; null is an abstention."""
    if value is None:
        return Prediction("")
    confidence = value["confidence"]
    if confidence is not None and confidence != confidence:  # NaN
        confidence = None
    return Prediction((value["text"] or "").strip(), confidence, dict(value["probabilities"] or {}))


def _arrow_type(rule: Mapping[str, Any]) -> "pa.DataType":
    """The type of the column for a field of a response."""
    import pyarrow as pa

    types = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    match [name for name in types if name != "null"]:
        case ["string"]:
            return pa.string()
        case ["number"]:
            return pa.float64()
        case ["object"] if rule.get("additionalProperties", {}).get("type") == "number":
            return pa.map_(pa.string(), pa.float64())
    raise ValueError(f"no column type for a field of the JSON type {rule['type']!r}")
