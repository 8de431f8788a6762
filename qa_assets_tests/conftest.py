"""The engines, real and shared: each is started when a test first asks for it, once."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from qa_assets.core.examples import Example
from qa_assets.local.broker import broker, free_port
from qa_assets.local.jars import ensure_jars
from qa_assets.models import tiny_t5
from qa_assets.spark import SparkConfig, create_session, stop_session
from qa_assets.streaming.config import KafkaConfig
from qa_assets.tasks.question_answering import QuestionAnswering
from qa_assets.training import selection
from qa_assets.training.config import TrainingConfig
from qa_assets_tests.fake_hub import FakeHub
from qa_assets_tests.promotion_bench import Bench

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest_plugins = ["qa_assets_tests.training_fixtures"]

# no JVM of a test lives long enough to gain by C2, which would take half of its CPU
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

SHARED = {"spark", "kafka_broker"}
"""Fixtures that are an engine, started once."""
ENGINES = {"jars_dir", "processes"}
"""Fixtures of tests that start Spark, Kafka, Ray or other processes; most have the first."""
LONGEST = ("test_graph", "engines", "test_tuning", "test_chaos", "test_faults", "test_ui")
"""Groups of tests that begin first, since a long one at the end would run alone."""
MODELS = {"base", "model_dir", "candidate_model"}
"""Fixtures that make a model, which tests train, convert or ask."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures that it uses, directly or not.

    `make test` runs three processes (pytest-xdist, `--dist loadgroup`): one has all tests of the
    shared Spark session and broker, so that each is started once, the others the rest, file by
    file, the longest first.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        item.add_marker("integration" if fixtures & (ENGINES | MODELS) else "unit")
        group = "engines" if fixtures & SHARED else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group_of(item), len(rank)))


def group_of(item: pytest.Item) -> str:
    """Which tests run in the same process."""
    group: str = next(item.iter_markers("xdist_group")).args[0]
    return group


@pytest.fixture
def processes() -> None:
    """Named by tests that start processes of their own without the jars."""


@pytest.fixture(scope="session")
def jars_dir() -> Path:
    """The project's jars, which a first run fetches."""
    from qa_assets.settings import load_settings

    jars_dir = load_settings().jars
    ensure_jars(jars_dir)
    return jars_dir


@pytest.fixture(scope="session")
def spark(jars_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SparkSession]":
    """The one Spark session of the test process."""
    home = tmp_path_factory.mktemp("spark")
    (home / "jars").symlink_to(jars_dir)
    session = create_session("tests", SparkConfig(), home)
    yield session
    stop_session(session)


@pytest.fixture(scope="session")
def kafka_broker(jars_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaConfig]:
    """A broker without topics, on a port that was free; tests name topics of their own."""
    address = f"127.0.0.1:{free_port()}"
    with broker(tmp_path_factory.mktemp("broker"), address, jars_dir):
        yield KafkaConfig(bootstrap_servers=address)


@pytest.fixture(scope="session")
def mlflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it, to copy: making it takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture(scope="session")
def candidate_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `selection.select` makes of a tiny model that has learnt nothing."""
    return make_candidate(tmp_path_factory.mktemp("candidate"), seed=1)


def make_candidate(home: Path, seed: int) -> Path:
    """A candidate's directory, other weights by seed."""
    task = QuestionAnswering()
    facts = {"Rollo": "led the Norse", "Ada": "wrote a program", "The Danube": "flows east"}
    examples = [
        Example(
            id=question,
            group=who,
            inputs={"question": question, "context": f"{who} {done}."},
            references=[who] if question.startswith("Who") else [],
        )
        for who, done in facts.items()
        for question in (f"Who {done}?", f"Where is {who}?")
    ]
    prompts = [(task.prompts(example)[0].source, *example.references) for example in examples]
    texts = [text for prompt in prompts for text in prompt] * 3
    base = tiny_t5.create(texts, home / "base", [task.abstention], seed)
    out = home / "model"
    out.mkdir()
    trials = [selection.Trained("trial_00000", base, 50.0)]
    config = TrainingConfig(max_target_tokens=8, precision="fp32")
    selection.select(trials, base, task, examples, out, config)
    return out


@pytest.fixture
def bench(tmp_path: Path, mlflow_db: Path, candidate_model: Path) -> Bench:
    """A pipeline without a champion."""
    return Bench(tmp_path, mlflow_db, candidate_model)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on loopback with no repositories, that the hub's client takes for the real one."""
    with FakeHub() as served:
        # what HF_ENDPOINT sets when a process starts
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
        yield served


def left_running(home: Path) -> list[str]:
    """The commands of processes that name a directory."""
    commands = [
        " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ]
    return [command for command in commands if str(home) in command]
