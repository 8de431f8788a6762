"""A few rounds of `make chaos`, at its most telling moments."""

from pathlib import Path

import pytest

from qa_assets_tests.chaos import kills
from qa_assets_tests.chaos.kills import Kill
from qa_assets_tests.chaos.questions import make_model
from qa_assets_tests.chaos.rounds import Chaos


@pytest.mark.timeout(600)
def test_kills_change_nothing(
    jars_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = [
        Kill("step", "rename", 0, 0.0),
        Kill("driver", "transaction", 0, 0.03),
        Kill("broker", "staging", 0, 0.0),
    ]
    monkeypatch.setattr(kills, "draw", lambda _: planned.pop(0))
    make_model(tmp_path)
    result = Chaos(tmp_path, jars_dir, seed=2).run(3, per_round=20, say=lambda _: None)
    assert not result.violations
    assert sum(result.kills.values()) == 3
    assert result.requests > 40
