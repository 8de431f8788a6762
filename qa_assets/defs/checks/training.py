"""Checks of training."""

import math

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore


@dg.asset_check(asset="checkpoints", blocking=True)
def losses_finite(store: dg.ResourceParam[ArtifactStore]) -> dg.AssetCheckResult:
    """Every trial logged losses, all of them finite, and the last is below the first."""
    trials = store.latest("checkpoints").info["trials"]
    bad = []
    for trial in trials:
        losses = [point["loss"] for point in trial["history"]]
        if len(losses) < 2 or not all(map(math.isfinite, losses)) or losses[-1] >= losses[0]:
            bad.append(trial["name"])
    return dg.AssetCheckResult(
        passed=not bad, metadata={"trials": len(trials), "bad": ", ".join(bad) or "none"}
    )
