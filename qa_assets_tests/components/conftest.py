"""What tests of the sensor share."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from qa_assets.components.pipeline import Pipeline
from qa_assets.settings import Settings, load_settings
from qa_assets.streaming.config import KafkaConfig
from qa_assets_tests.components.ticks import on_topic


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's own storage, empty."""
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def settings(kafka_broker: KafkaConfig, tmp_path: Path) -> Settings:
    """Of the tests' broker, and a directory of the test's own."""
    return load_settings(kafka=kafka_broker, home=tmp_path)


@pytest.fixture
def pipeline(settings: Settings, request: pytest.FixtureRequest) -> Pipeline:
    """A pipeline with a topic of the test's own, and something under the name of what serves."""
    tried = on_topic(request.node.name)
    with tried.store(settings).write("spark_nlp_model"):
        pass
    return tried
