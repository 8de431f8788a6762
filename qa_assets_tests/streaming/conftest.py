"""A stream for each test, on the session's broker and Spark."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_assets.streaming.config import KafkaConfig
from qa_assets.streaming.kafka import ensure_topics
from qa_assets_tests.streaming.stream import Stream, stream_context

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def stream(
    spark: "SparkSession", kafka_broker: KafkaConfig, tmp_path: Path, request: Any
) -> Stream:
    """Topics named after the test; that of requests is there."""
    context = stream_context(kafka_broker, request.node.name[:40])
    ensure_topics(context.kafka, [context.topics.requests])
    return Stream(spark, context, tmp_path / "a path with spaces")
