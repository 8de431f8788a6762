"""The whole graph on a small quickstart, through the command that `make run` calls."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus

from qa_assets.definitions import defs
from qa_assets.local.broker import free_port
from qa_assets_tests.conftest import left_running

_SMALL = """
ops:
  quickstart__raw_squad:
    config: {generated_examples: 2000}
  quickstart_splits:
    config: {valid_examples: 150, eval_examples: 150}
  quickstart__checkpoints:
    config: {epochs: 8}
  quickstart__question_feed:
    config: {examples: 40}
"""


@pytest.mark.timeout(840)
def test_every_asset_is_made_and_every_check_passes(tmp_path: Path, jars_dir: Path) -> None:
    (tmp_path / "jars").symlink_to(jars_dir)
    environment = {
        "QA_ASSETS_HOME": str(tmp_path),
        "QA_ASSETS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
    }
    config = tmp_path / "small.yaml"
    config.write_text(_SMALL)
    command = [str(Path(sys.executable).with_name("qa-assets")), "run", "--config", str(config)]
    told = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr

    home = tmp_path / "dagster_home"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert run.status == DagsterRunStatus.SUCCESS
        kinds = {
            DagsterEventType.ASSET_CHECK_EVALUATION,
            DagsterEventType.ASSET_MATERIALIZATION,
        }
        events = [
            record.event_log_entry.dagster_event
            for record in instance.get_records_for_run(run.run_id, of_type=kinds).records
        ]
    checks = {
        event.asset_check_evaluation_data.asset_check_key: event.asset_check_evaluation_data.passed
        for event in events
        if event and event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION
    }
    made = {
        event.asset_key
        for event in events
        if event and event.event_type == DagsterEventType.ASSET_MATERIALIZATION
    }
    graph = defs().resolve_asset_graph()

    def belongs(key: dg.AssetKey) -> bool:
        return key.path in (["kept_versions"], ["quickstart", key.path[-1]])

    assert set(checks) == {key for key in graph.asset_check_keys if belongs(key.asset_key)}
    assert all(checks.values()), checks
    assert made == {key for key in graph.materializable_asset_keys if belongs(key)}
    assert not left_running(tmp_path)
