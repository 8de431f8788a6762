"""A stream of each test's own, on the session's one broker and Spark."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_assets.streaming.config import KafkaSettings
from qa_assets.streaming.kafka import ensure_topics
from qa_assets_tests.streaming.stream import Stream

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def stream(
    spark: "SparkSession", kafka_broker: KafkaSettings, tmp_path: Path, request: Any
) -> Stream:
    """Topics named after the test; that of questions is there."""
    name = request.node.name[:40]
    topics = {
        "questions_topic": f"{name}.questions",
        "answers_topic": f"{name}.answers",
        "dead_letter_topic": f"{name}.dead",
        "consumer_group": name,
    }
    kafka = kafka_broker.model_copy(update=topics)
    ensure_topics(kafka, [kafka.questions_topic])
    return Stream(spark, kafka, tmp_path / "a path with spaces")
