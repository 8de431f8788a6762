"""Trials of Ray Tune around Ray Train, for real."""

import sqlite3
from pathlib import Path

import pytest

from qa_assets.settings import RaySettings
from qa_assets.squad import metric
from qa_assets.training import base_model, search
from qa_assets.training.config import SearchSpace
from qa_assets_tests.training.conftest import CONFIG, NULL_TEXT


def run(base: Path, data: Path, out: Path, trials: int) -> list[search.TrialResult]:
    return search.search(
        CONFIG.model_copy(update={"epochs": 1}),
        RaySettings(),
        trials=trials,
        base=base,
        train_rows=data / "train",
        valid_rows=data / "valid",
        out=out,
        score=metric.score,
        null_text=NULL_TEXT,
        mlflow_uri=f"sqlite:///{out.parent / 'mlflow.db'}",
        space=SearchSpace(learning_rate=(1e-4, 1e-2), batch_tokens=(700, 1400)),
    )


@pytest.mark.timeout(180)
def test_trials_of_ray_leave_checkpoints_and_runs(
    base: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    import ray

    out = tmp_path / "out"
    results = run(base, data, out, trials=2)
    assert [trial.name for trial in results] == ["trial_00000", "trial_00001"]
    assert results[0].config["learning_rate"] != results[1].config["learning_rate"]
    for trial in results:
        assert trial.checkpoint == out / "trials" / trial.name / "checkpoint"
        base_model.load(trial.checkpoint)
        assert 0 <= trial.metrics["f1"] <= 100
        assert trial.history
    assert [path.name for path in out.iterdir()] == ["trials"]
    assert not ray.is_initialized()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        runs = database.execute("select status from runs").fetchall()
        rates = database.execute("select value from params where key = 'learning_rate'").fetchall()
        (curve,) = database.execute(
            "select count(*) from metrics where key = 'training/loss'"
        ).fetchone()
    assert runs == [("FINISHED",), ("FINISHED",)]
    assert {float(rate) for (rate,) in rates} == {r.config["learning_rate"] for r in results}
    assert curve == sum(len(trial.history) for trial in results)
    tables = [record.getMessage() for record in caplog.records if "trials:" in record.getMessage()]
    assert "trial_00001" in tables[-1]
    assert str(results[0].config["schedule"]) in tables[-1]


@pytest.mark.timeout(120)
def test_failed_trial_says_why(data: Path, tmp_path: Path) -> None:
    with pytest.raises(search.SearchError, match="trial_00000: BaseModelError: .*nowhere"):
        run(tmp_path / "nowhere", data, tmp_path / "out", trials=1)
