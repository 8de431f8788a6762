"""Checks of the candidate: it must have learned something."""

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore


@dg.asset_check(asset="best_model", blocking=True)
def better_than_untuned(store: dg.ResourceParam[ArtifactStore]) -> dg.AssetCheckResult:
    """Its F1 on valid is above that of the model that training started from."""
    info = store.latest("best_model").info
    tuned, untuned = info["valid"]["f1"], info["valid_untuned"]["f1"]
    return dg.AssetCheckResult(
        passed=tuned > untuned, metadata={"tuned_f1": tuned, "untuned_f1": untuned}
    )
