"""The feed: test examples sent as requests, and predicted by the same model without Kafka.

Both predictions must be equal.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qa_assets.core.examples import Example, read_examples
from qa_assets.core.files import replacing
from qa_assets.core.task import Task
from qa_assets.streaming.config import StreamContext
from qa_assets.streaming.kafka import TopicOffsets, end_offsets
from qa_assets.streaming.producer import produce_requests
from qa_assets.streaming.table import KEY, ResponseTable, prediction_type, to_prediction

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession

    from qa_assets.streaming.micro_batch import Model

logger = logging.getLogger(__name__)

_SENT = "sent.parquet"


def send_feed(context: StreamContext, examples: Sequence[Example], feed: Path) -> TopicOffsets:
    """Send examples as requests, and write their partitions and offsets into the directory `feed`.

    Returns:
        The topic after it.

    Raises:
        MessageError, KafkaUnavailable: see `produce_requests`.
    """
    import pandas as pd

    requests = [{"id": example.id, **example.inputs} for example in examples]
    sent = produce_requests(context, requests)
    topic = end_offsets(context.kafka, context.topics.requests)
    pd.DataFrame(sent).to_parquet(feed / _SENT, index=False)
    return topic


def predict_feed(
    spark: "SparkSession", task: Task, model: "Model", feed: Path, rows: Path, out: Path
) -> None:
    """Predict the examples of a feed without Kafka, unless this model has before.

    The Parquet `rows` holds the examples; `out` is the directory of the stream.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _predictions(out, feed) / f"{model.version}.parquet"
    if path.exists():
        return
    sent = set(pd.read_parquet(feed / _SENT)["id"])
    inputs = list(task.messages.inputs)
    examples = [example for example in read_examples(rows) if example.id in sent]
    requests = [(example.id, *(example.inputs[name] for name in inputs)) for example in examples]
    frame = spark.createDataFrame(requests, ", ".join(f"{name} string" for name in ["id", *inputs]))
    spread = frame.repartition(spark.sparkContext.defaultParallelism)
    predicted = [
        {"id": row["id"], "batch_prediction": vars(to_prediction(row["prediction"]))}
        for row in model.predictor.by_spark(spread).select("id", "prediction").collect()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema({"id": pa.string(), "batch_prediction": prediction_type()})
    with replacing(path) as unfinished:
        pq.write_table(pa.Table.from_pylist(predicted, schema=schema), unfinished)
    logger.info("%d examples of the feed predicted without Kafka too", len(predicted))


def read_feed(table: ResponseTable, feed: Path) -> "pd.DataFrame":
    """A row for each request of a feed, null where there is no response yet.

    Returns:
        The columns of `sent.parquet`, `model_version, asked_at, answered_at`, and the streamed
        `prediction` and the `batch_prediction` of the same model as `Prediction`s.
    """
    import pandas as pd

    rows = table.read([*KEY, "prediction", "model_version", "asked_at", "answered_at"])
    rows["prediction"] = rows["prediction"].map(to_prediction)
    batches = [
        pd.read_parquet(file).assign(model_version=file.stem)
        for file in sorted(_predictions(table.out, feed).glob("*.parquet"))
    ]
    key = ["id", "model_version"]
    empty = pd.DataFrame(columns=[*key, "batch_prediction"], dtype=object)
    batch = pd.concat(batches) if batches else empty
    batch["batch_prediction"] = batch["batch_prediction"].map(to_prediction)
    sent = pd.read_parquet(feed / _SENT)
    return sent.merge(rows, on=KEY, how="left").merge(batch, on=key, how="left")


def _predictions(out: Path, feed: Path) -> Path:
    return out / "batch" / feed.name
