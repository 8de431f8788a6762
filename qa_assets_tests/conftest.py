"""The engines, real and shared: each is started when a test first asks for it, once."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qa_assets.embedded.broker import broker
from qa_assets.embedded.jars import ensure_jars
from qa_assets.settings import KafkaSettings, load_settings
from qa_assets.spark import create_session, stop_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def jars_dir() -> Path:
    """The project's jars, which a first run fetches."""
    jars_dir = load_settings().jars
    ensure_jars(jars_dir)
    return jars_dir


@pytest.fixture(scope="session")
def spark(jars_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """The one Spark session of the test process."""
    home = tmp_path_factory.mktemp("spark")
    (home / "jars").symlink_to(jars_dir)
    session = create_session("tests", load_settings(home=home))
    yield session
    stop_session(session)


@pytest.fixture(scope="session")
def kafka_broker(
    jars_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaSettings]:
    """A broker without topics, on a port that was free; tests name topics of their own."""
    address = f"127.0.0.1:{free_port()}"
    with broker(tmp_path_factory.mktemp("broker"), address, jars_dir):
        yield KafkaSettings(bootstrap_servers=address)


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
