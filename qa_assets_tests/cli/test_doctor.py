"""What doctor finds, in order and not."""

import socket
from pathlib import Path

import pytest

from qa_assets.cli.doctor import Finding, find
from qa_assets.components.pipeline import Pipeline
from qa_assets.definitions import pipelines
from qa_assets.local.broker import free_port
from qa_assets.settings import load_settings
from qa_assets_tests.pipelines import pipeline


@pytest.fixture
def findings(tmp_path: Path) -> dict[str, Finding]:
    """Of a quickstart whose broker's port is free."""
    kafka = {"bootstrap_servers": f"127.0.0.1:{free_port()}"}
    return found(Pipeline("quickstart", pipelines()["quickstart"]), home=tmp_path, kafka=kafka)


def found(tried: Pipeline, **overrides: object) -> dict[str, Finding]:
    return {finding.what: finding for finding in find(load_settings(**overrides), tried)}


def test_this_machine_can_run_the_quickstart(findings: dict[str, Finding]) -> None:
    assert not [finding for finding in findings.values() if finding.state == "bad"]
    assert {"packages", "Java 17", "jars", "memory", "disk", "GPU", "Kafka", "Spark", "Ray"} <= set(
        findings
    )


def test_what_is_not_in_order_is_named_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = found(
            pipeline(data={"source": str(tmp_path / "nowhere")}, model={"base": str(tmp_path)}),
            home=tmp_path,
            kafka={"bootstrap_servers": f"127.0.0.1:{port}"},
            spark={"master": "spark://127.0.0.1:1"},
            ray={"address": "ray://127.0.0.1:1"},
            ui_port=port,
        )
    bad = {what: finding.message for what, finding in wrong.items() if finding.state == "bad"}
    assert set(bad) == {"data", "base model", "Kafka", "Spark", "Ray"}
    assert "data.source" in bad["data"]
    assert "config.json" in bad["base model"]
    assert "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS" in bad["Kafka"]
    assert "QA_ASSETS_SPARK_MASTER" in bad["Spark"]
    assert "QA_ASSETS_RAY_ADDRESS" in bad["Ray"]
    assert wrong["UI"].state == "note"
