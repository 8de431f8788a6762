"""The training's command on a machine that has torch and transformers, but not the platform."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qa_assets_tests.training_fixtures import CONFIG

_ABSENT = [
    "ray", "dagster", "pyspark", "mlflow", "sparknlp", "typer", "rich", "confluent_kafka",
    "optimum", "onnxruntime", "datasets", "evaluate", "matplotlib", "peft",
    "pydantic_settings", "ctranslate2",
]  # fmt: skip
_RUN = f"""
import sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] not in {_ABSENT!r}:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
from qa_assets.training.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.timeout(240)
def test_trains_and_evaluates_without_the_platform(base: Path, data: Path, tmp_path: Path) -> None:
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(CONFIG.model_dump()))
    out = tmp_path / "out"
    run = [
        sys.executable, "-c", _RUN, "--base", str(base), "--train", str(data / "train"),
        "--valid", str(data / "valid"), "--test", str(data / "valid"), "--out", str(out),
        "--config", str(settings), "--task", "question_answering",
        "--task-settings", '{"no_answer": "unavailable"}',
        "--set", "epochs=1", "--set", "average_last=2",
    ]  # fmt: skip
    paused = subprocess.run(
        [*run, "--max-seconds", "0.01", "--evaluation-seconds", "0"], capture_output=True, text=True
    )
    assert paused.returncode == 75, paused.stderr
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads((out / "scores.json").read_text())
    found = scores["as trained"]
    assert found["total"] == 27
    first = done.stdout.splitlines()[0]
    assert "| `--set epochs=1 --set average_last=2` | all of train |" in first
    assert f"{found['exact']:.2f} / {found['f1']:.2f}" in first
    assert (out / "model" / "calibration.json").exists()


def test_unusable_settings_are_named(base: Path, data: Path, tmp_path: Path) -> None:
    from qa_assets.training.__main__ import main

    with pytest.raises(SystemExit):
        main(["--base", str(base)])
    run = ["--base", str(base), "--train", str(data / "train"), "--valid", str(data / "valid")]
    assert main([*run, "--out", str(tmp_path), "--set", "epochs=-1"]) == 1
    assert main([*run, "--out", str(tmp_path), "--train-limit", "9", "--base", "/nowhere"]) == 1
    assert main([*run, "--out", str(tmp_path), "--task-settings", '{"other": 1}']) == 1
    for wrong in (["--task", "other"], ["--task-settings", "{"]):
        with pytest.raises(SystemExit):
            main([*run, "--out", str(tmp_path), *wrong])
