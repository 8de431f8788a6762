"""`qa-assets validate`, as people and as CI call it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qa_assets_tests.data.test_sources import article

COMMAND = [str(Path(sys.executable).with_name("qa-assets")), "validate"]


def validate(path: Path, jars_dir: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    home = path.parent / "home"
    home.mkdir(exist_ok=True)
    if not (home / "jars").exists():
        (home / "jars").symlink_to(jars_dir)
    return subprocess.run(
        [*COMMAND, str(path), *options],
        env=os.environ | {"QA_ASSETS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_counts_and_reasons_and_exit_code(tmp_path: Path, jars_dir: Path) -> None:
    # a name that Spark would take for a pattern, or for hidden
    path = tmp_path / "_my {data}*.json"
    data: dict[str, Any] = {"data": [article(n) for n in range(10)]}
    data["data"][4]["paragraphs"][0]["qas"][1]["id"] = ""
    data["data"][5]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 1
    path.write_text(json.dumps(data))
    told = validate(path, jars_dir, "--json")
    assert told.returncode == 1, told.stderr
    found = json.loads(told.stdout)
    assert (found["records"], found["rejected"], found["repaired"]) == (20, 1, 1)
    assert found["reasons"] == {"id_missing": 1}
    assert found["examples"][0]["place"] == "data[4].paragraphs[0].qas[1]"
    assert not found["ok"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_is_no_data_file_is_said_without_spark(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data": [')
    told = validate(path, tmp_path / "no jars", *options)
    assert told.returncode == 1
    said = json.loads(told.stdout)["error"] if options else told.stderr
    assert str(path) in said
    assert "cut off" in said
