"""The questions of a feed answered without Kafka, by the model that answers the streamed ones.

What is streamed must come out the same: it is compared in `answer_report`. By the same engine, as
an engine of int8 weights need not answer as the checkpoint does that it was made of; that they do
is the business of the checks of deployment.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from qa_assets.streaming.micro_batch import Model

logger = logging.getLogger(__name__)


def answer_feed(
    spark: "SparkSession", model: "Model", feed: Path, questions: Path, out: Path
) -> None:
    """Answer the questions of a feed, unless this model has before.

    Args:
        spark: the session.
        model: what answers the streamed questions too.
        feed: the directory that holds `sent.parquet`.
        questions: Parquet rows with `id, question, context`.
        out: the directory of the answers.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    place = _place(out, feed) / f"{model.version}.parquet"
    if place.exists():
        return
    sent = set(pd.read_parquet(feed / "sent.parquet")["id"])
    rows = pq.read_table(questions, columns=["id", "question", "context"]).to_pylist()
    asked = [(row["id"], row["question"], row["context"]) for row in rows if row["id"] in sent]
    frame = spark.createDataFrame(asked, "id string, question string, context string")
    spread = frame.repartition(spark.sparkContext.defaultParallelism)
    found = model.answer(spread).select("id", "answer").collect()
    place.parent.mkdir(parents=True, exist_ok=True)
    said = [(row["answer"] or "").strip() or None for row in found]
    answers = pd.DataFrame({"id": [row["id"] for row in found], "batch_answer": said})
    with replacing(place) as unfinished:
        answers.to_parquet(unfinished, index=False)
    logger.info("%d questions of the feed answered without Kafka too", len(found))


def read_batch_answers(out: Path, feed: Path) -> "pd.DataFrame":
    """A row a question and model: `id, model_version, batch_answer`."""
    import pandas as pd

    frames = [
        pd.read_parquet(file).assign(model_version=file.stem)
        for file in sorted(_place(out, feed).glob("*.parquet"))
    ]
    empty = pd.DataFrame({"id": [], "batch_answer": [], "model_version": []}, dtype=object)
    return pd.concat(frames) if frames else empty


def _place(out: Path, feed: Path) -> Path:
    return out / "batch" / feed.name
