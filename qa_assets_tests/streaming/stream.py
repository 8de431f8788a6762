"""A stream of question answering: topics, consumer group, directory, and a model that counts."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
from confluent_kafka import Producer

from qa_assets.deployment.serving import Predictor
from qa_assets.streaming.config import KafkaConfig, StreamConfig, StreamContext, Topics
from qa_assets.streaming.consumer import process_available
from qa_assets.streaming.kafka import client_config
from qa_assets.streaming.micro_batch import Model
from qa_assets.streaming.producer import produce_requests
from qa_assets.streaming.summary import StreamSummary
from qa_assets.tasks.question_answering import TASK
from qa_assets_tests.streaming.readers import read_committed

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def stream_context(kafka: KafkaConfig, name: str = "squad", **config: Any) -> StreamContext:
    """A stream of question answering."""
    topics = Topics.named(name, "question", "answer")
    return StreamContext(kafka, topics, StreamConfig(**config), TASK())


def prediction(text: "Column", confidence: float | None = 0.5) -> "Column":
    """A column as `Model.predict` adds it."""
    from pyspark.sql import functions as sf

    return sf.struct(
        text.alias("text"),
        sf.lit(confidence).cast("double").alias("confidence"),
        sf.lit(None).cast("map<string,double>").alias("probabilities"),
    )


class Stream:
    """The model is an expression of Spark's: what surrounds it is tested."""

    def __init__(self, spark: "SparkSession", context: StreamContext, out: Path) -> None:
        self.spark, self.context, self.out = spark, context, out
        self.kafka, self.topics = context.kafka, context.topics
        self.predictions = 0

    def send(self, ids: list[str]) -> None:
        """Put questions of these ids on the topic."""
        requests = [
            {
                "id": name,
                "question": f"what {name}?",
                "context": "some text",
                "metadata": {"n": name},
            }
            for name in ids
        ]
        produce_requests(self.context, requests)

    def send_raw(self, values: list[bytes | None], partition: int = 0) -> None:
        """Put bytes on one partition, in their order."""
        # idempotent, since a message that is sent again would otherwise come after the next
        options = {"message.max.bytes": self.kafka.max_message_bytes, "enable.idempotence": True}
        producer = Producer(client_config(self.kafka) | options)
        for value in values:
            producer.produce(self.topics.requests, value, partition=partition)
        assert producer.flush(20) == 0

    def predict(self, frame: "DataFrame") -> "DataFrame":
        """The question and its context in capitals.

        It abstains on an id that begins with none, and is not asked about one that begins with
        unasked.
        """
        from pyspark.sql import functions as sf

        self.predictions += 1
        text = sf.upper(sf.concat_ws(" ", "question", "context"))
        abstains, unasked = (sf.col("id").startswith(name) for name in ("none", "unasked"))
        answer = sf.when(abstains, "").otherwise(text)
        return frame.withColumn("prediction", sf.when(~unasked, prediction(answer)))

    def run(self, predict: Any = None, **config: Any) -> StreamSummary:
        """Answer what is there."""
        context = replace(self.context, config=StreamConfig(**config))
        model = Model("v1", Predictor(predict or self.predict))
        return process_available(self.spark, context, model, self.out)

    def table(self) -> list[dict[str, Any]]:
        """The rows of the table, by partition and offset."""
        table = ds.dataset(self.out / "table", partitioning="hive").to_table()
        rows: list[dict[str, Any]] = table.to_pylist()
        return sorted(rows, key=lambda row: (row["partition"], row["offset"]))

    def messages(self, topic: str) -> list[Any]:
        """All messages on a topic."""
        return read_committed(self.kafka, topic)

    def responses(self) -> list[dict[str, Any]]:
        """The responses on their topic."""
        return [json.loads(message.value()) for message in self.messages(self.topics.responses)]

    def dead_letters(self) -> dict[int, Any]:
        """Dead letters by the offset of the request, each of which has one at most."""
        letters = self.messages(self.topics.dead_letters)
        by_offset = {int(header(letter, "dead_letter.offset")): letter for letter in letters}
        assert len(by_offset) == len(letters)
        return by_offset


def header(message: Any, name: str) -> str:
    """A header as text."""
    headers: Mapping[str, bytes] = dict(message.headers())
    return headers[name].decode()
