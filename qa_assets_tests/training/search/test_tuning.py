"""Trials of Ray Tune around Ray Train, for real."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from qa_assets.models import base_model
from qa_assets.training.config import RayConfig, SearchSpace
from qa_assets.training.search import tuning
from qa_assets.training.search.trial import ERROR, Job
from qa_assets_tests.training_fixtures import CONFIG, inputs


def run(base: Path, data: Path, out: Path, **changes: Any) -> list[tuning.FinishedTrial]:
    return tuning.search(
        CONFIG.model_copy(update={"epochs": 0.5} | changes),
        inputs(base, data),
        RayConfig(),
        trials=2,
        out=out,
        mlflow_uri=f"sqlite:///{out.parent / 'mlflow.db'}",
        experiment="qa_assets",
        space=SearchSpace(learning_rate=(1e-4, 1e-2), batch_tokens=(700, 1400)),
    )


@pytest.mark.timeout(480)
def test_broken_search_goes_on_and_leaves_checkpoints_and_runs(
    base: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    import ray

    out = tmp_path / "out"
    with pytest.raises(tuning.SearchError, match="trial_00000: BaseModelError: .*nowhere"):
        run(tmp_path / "nowhere", data, out)
    # runtime options may differ in a resumed search: one prompt at a time
    results = run(base, data, out, max_batch_tokens=1)
    assert [trial.name for trial in results] == ["trial_00000", "trial_00001"]
    assert results[0].config["learning_rate"] != results[1].config["learning_rate"]
    for trial in results:
        result = trial.result
        assert result.checkpoint == out / "trials" / trial.name / "checkpoint"
        base_model.load(result.checkpoint)
        assert 0 <= result.metrics["f1"] <= 100
        assert {point["padding"] for point in result.history} == {0.0}
    assert [path.name for path in out.iterdir()] == ["trials"]
    assert not ray.is_initialized()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        runs = database.execute("select status from runs").fetchall()
        rates = database.execute("select value from params where key = 'learning_rate'").fetchall()
        (curve,) = database.execute(
            "select count(*) from metrics where key = 'training/loss'"
        ).fetchone()
    assert sorted(runs) == [("FAILED",), ("FAILED",), ("FINISHED",), ("FINISHED",)]
    assert {float(rate) for (rate,) in rates} == {r.config["learning_rate"] for r in results}
    assert curve == sum(len(trial.result.history) for trial in results)
    tables = [record.getMessage() for record in caplog.records if "trials:" in record.getMessage()]
    assert "trial_00001" in tables[-1]
    assert str(results[0].config["schedule"]) in tables[-1]


def test_what_diverges_is_left_out_unless_all_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from ray.tune import Result

    job = Job(inputs(tmp_path, tmp_path), tmp_path, RayConfig(), 1, None, None, {})
    reasons = {"trial_0": "", "trial_1": "DivergedError: nan", "trial_2": "ValueError: other"}
    found = {}
    for name, reason in reasons.items():
        job.directory(name).mkdir(parents=True)
        (job.directory(name) / ERROR).write_text(reason)
        error = RuntimeError("Ray's own") if reason else None
        metrics = {"config": {"learning_rate": 0.1}}
        found[name] = Result(
            metrics=metrics, checkpoint=None, error=error, path=str(job.directory(name))
        )
    with pytest.raises(tuning.SearchError, match="trial_2: ValueError: other"):
        tuning._finished(found.values(), job)
    with pytest.raises(tuning.SearchError, match="trial_1: DivergedError: nan"):
        tuning._finished([found["trial_1"]], job)
    assert job.directory("trial_1").exists()
    left = tuning._finished([found["trial_0"], found["trial_1"]], job)
    assert left == {"trial_0": {"learning_rate": 0.1}}
    assert "left out: trial_1: DivergedError: nan" in caplog.text
    assert [path.name for path in sorted((tmp_path / "trials").iterdir())] == ["trial_0", "trial_2"]
