"""`qa-assets stream` says what is missing, before it starts anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qa_assets.cli import app


def test_without_a_model_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QA_ASSETS_HOME", str(tmp_path))
    told = CliRunner().invoke(app, ["stream", "quickstart"])
    assert told.exit_code == 1
    assert "materialise the asset `spark_nlp_model`" in told.output
    assert not list(tmp_path.iterdir())
