"""Checks of the chosen model: it must have learned something."""

import dagster as dg

from qa_assets.artifacts import ArtifactStore


def _better(tuned: dict[str, float], untuned: dict[str, float]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=tuned["f1"] > untuned["f1"],
        metadata={"tuned_f1": tuned["f1"], "untuned_f1": untuned["f1"]},
    )


@dg.asset_check(asset="best_model", blocking=True)
def better_than_untuned(store: dg.ResourceParam[ArtifactStore]) -> dg.AssetCheckResult:
    """Its F1 on valid is above that of the model that training started from."""
    info = store.latest("best_model").info
    return _better(info["valid"], info["valid_untuned"])


@dg.asset_check(asset="test_report", blocking=True)
def better_than_untuned_on_test(store: dg.ResourceParam[ArtifactStore]) -> dg.AssetCheckResult:
    """Its F1 on test is above that of the model that training started from."""
    scores = store.latest("test_report").info["scores"]
    return _better(scores["candidate"], scores["untuned"])
