"""A stream of a test's own: topics, consumer group and directory, and a model that counts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
from confluent_kafka import Producer

from qa_assets.streaming.config import KafkaSettings, StreamSettings
from qa_assets.streaming.consumer import StreamSummary, answer_available
from qa_assets.streaming.kafka import client_config
from qa_assets.streaming.micro_batch import Model
from qa_assets.streaming.producer import produce_questions
from qa_assets_tests.streaming.readers import read_committed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Stream:
    """The model is an expression of Spark's, since what is tested is what surrounds it."""

    def __init__(self, spark: "SparkSession", kafka: KafkaSettings, out: Path) -> None:
        self.spark, self.kafka, self.out = spark, kafka, out
        self.asked = 0

    def send(self, ids: list[str]) -> None:
        """Put questions of these ids on the topic."""
        questions = [
            {"id": one, "question": f"what {one}?", "context": "some text", "metadata": {"n": one}}
            for one in ids
        ]
        produce_questions(self.kafka, questions)

    def send_raw(self, values: list[bytes | None], partition: int = 0) -> None:
        """Put bytes on one partition, in their order."""
        most = {"message.max.bytes": self.kafka.max_message_bytes}
        producer = Producer(client_config(self.kafka) | most)
        for value in values:
            producer.produce(self.kafka.questions_topic, value, partition=partition)
        assert producer.flush(20) == 0

    def answer(self, frame: "DataFrame") -> "DataFrame":
        """The question and its context in capitals; nothing to an id that begins with none."""
        from pyspark.sql import functions as sf

        self.asked += 1
        said = sf.upper(sf.concat_ws(" ", "question", "context"))
        none = sf.col("id").startswith("none")
        return frame.withColumn("answer", sf.when(~none, said)).withColumn(
            "confidence", sf.lit(0.5)
        )

    def run(self, answer: Any = None, **settings: Any) -> StreamSummary:
        """Answer what is there."""
        model = Model("v1", answer or self.answer)
        return answer_available(self.spark, self.kafka, StreamSettings(**settings), model, self.out)

    def table(self) -> list[dict[str, Any]]:
        """The rows of the table, by partition and offset."""
        table = ds.dataset(self.out / "table", partitioning="hive").to_table()
        rows: list[dict[str, Any]] = table.to_pylist()
        return sorted(rows, key=lambda row: (row["partition"], row["offset"]))

    def messages(self, topic: str) -> list[Any]:
        """All messages on a topic."""
        return read_committed(self.kafka, topic)

    def answers(self) -> list[dict[str, Any]]:
        """The answers on their topic."""
        return [json.loads(one.value()) for one in self.messages(self.kafka.answers_topic)]
