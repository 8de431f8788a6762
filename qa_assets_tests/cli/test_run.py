"""What `qa-assets run` says of a machine or data that is not in order, and that nothing is left."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qa_assets_tests.conftest import free_port, left_running


def run(home: Path, jars_dir: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    (home / "jars").symlink_to(jars_dir)
    environment = {
        "QA_ASSETS_HOME": str(home),
        "QA_ASSETS_PROFILE": "quickstart",
        "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
    }
    command = [str(Path(sys.executable).with_name("qa-assets")), "run"]
    return subprocess.run(
        command,
        env=os.environ | environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(120)
def test_unreadable_data_ends_the_run_with_its_reason(tmp_path: Path, jars_dir: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "train-v2.0.json").write_text('{"version": "v2.0", "data": [{"title"')
    (source / "dev-v2.0.json").write_text("")
    home = tmp_path / "home"
    home.mkdir()
    told = run(home, jars_dir, QA_ASSETS_DATA_SOURCE=str(source))
    assert told.returncode == 1
    assert str(source / "train-v2.0.json") in told.stderr
    assert "Traceback" not in told.stderr
    assert [path.name for path in (home / "quickstart" / "artifacts").rglob("*")] == ["raw_squad"]
    assert not left_running(home)


def test_a_port_that_is_taken_is_named(tmp_path: Path, jars_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = run(tmp_path, jars_dir, QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS=address)
    assert told.returncode == 1
    assert "cannot listen on port" in told.stderr
    assert "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_unusable_setting_is_named(tmp_path: Path, jars_dir: Path) -> None:
    told = run(tmp_path, jars_dir, QA_ASSETS_TRAINING_EPOCHS="many")
    assert told.returncode == 2
    assert "QA_ASSETS_TRAINING_EPOCHS" in told.stderr
    assert "'many'" in told.stderr
    assert "Traceback" not in told.stderr
