"""What `qa-assets run` says of a machine or data that is not in order, and that nothing is left."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qa_assets.cli.run import Launch
from qa_assets.components.training import full_config
from qa_assets.local.broker import free_port
from qa_assets_tests.conftest import left_running
from qa_assets_tests.pipelines import pipeline


def run(
    home: Path, jars_dir: Path, *options: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    (home / "jars").symlink_to(jars_dir)
    environment = {
        "QA_ASSETS_HOME": str(home),
        "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
    }
    command = [str(Path(sys.executable).with_name("qa-assets")), "run", *options]
    return subprocess.run(
        command,
        env=os.environ | environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(240)
def test_unreadable_data_ends_the_run_with_its_reason(tmp_path: Path, jars_dir: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "train-v2.0.json").write_text('{"version": "v2.0", "data": [{"title"')
    (source / "dev-v2.0.json").write_text("")
    home = tmp_path / "home"
    home.mkdir()
    told = run(home, jars_dir, "--source", str(source))
    assert told.returncode == 1
    assert str(source / "train-v2.0.json") in told.stderr
    assert "Traceback" not in told.stderr
    made = [path.name for path in (home / "artifacts" / "quickstart").rglob("*")]
    assert made == ["raw_squad"]
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
    told = run(tmp_path, jars_dir, QA_ASSETS_KAFKA_PARTITIONS="many")
    assert told.returncode == 2
    assert "QA_ASSETS_KAFKA_PARTITIONS" in told.stderr
    assert "'many'" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_pipeline_that_does_not_exist_is_named_with_those_that_do(
    tmp_path: Path, jars_dir: Path
) -> None:
    told = run(tmp_path, jars_dir, "nosuch")
    assert told.returncode == 2
    assert "there is no pipeline 'nosuch': there are " in told.stderr
    assert "quickstart" in told.stderr


def test_options_of_a_launch_become_run_config(tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("ops: {squad__checkpoints: {config: {epochs: 2}}}")
    launch = Launch("squad", None, None, "mine", "base", 40, None, more)
    command = launch.command("raw_squad", tmp_path / "config.yaml")
    assert command[:2] == ["--job", "squad_all"]
    assert command[2:] == ["--config", str(tmp_path / "config.yaml")]
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["ops"] == {
        "squad__raw_squad": {"config": {"source": "mine"}},
        "squad_splits": {"config": {"train_examples": 40}},
        "squad__checkpoints": {"config": {"base": "base", "epochs": 2}},
    }
    assert Launch("squad", job="squad_rollback").command("raw_squad", more) == [
        "--job", "squad_rollback",
    ]  # fmt: skip


def test_options_leave_the_recipe_of_a_full_training_as_it_is(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    recipe = full_config(pipeline(full_training={"epochs": 3, "learning_rate": 5e-4}))
    Launch("tried", job="tried_train_full", base="base").command("raw_squad", config, recipe)
    assert yaml.safe_load(config.read_text())["ops"] == {
        "tried__checkpoints": {"config": {"epochs": 3.0, "learning_rate": 5e-4, "base": "base"}}
    }
