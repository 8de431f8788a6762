"""Reading the table of answers: as a whole, and for the questions of one feed."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

KEY = ["partition", "offset"]


def read_answers(out: Path, topic_id: str) -> "pd.DataFrame":
    """All answers to one topic, empty with the columns of `KEY` if there is none yet."""
    import pandas as pd

    table = out / "table"
    if not any(table.rglob("*.parquet")):
        return pd.DataFrame(columns=KEY)
    frame = pd.read_parquet(table)
    return frame[frame["topic_id"].astype(str) == topic_id]


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
    found = read_answers(out, topic_id).reindex(columns=columns)
    return sent.merge(found, on=KEY, how="left")
