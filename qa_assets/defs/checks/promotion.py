"""The gate between a candidate's report and the champion."""

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.tables import markdown_table
from qa_assets.promotion import champions
from qa_assets.settings import Settings


@dg.asset_check(asset="test_report", additional_deps=["best_model"], blocking=True)
def promotion_gate(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.AssetCheckResult:
    """The candidate may become the champion, by the thresholds QA_ASSETS_GATE_*."""
    decision = champions.review(store, settings.gate)
    return dg.AssetCheckResult(
        passed=decision.passed,
        description=decision.reasons,
        metadata={
            "reasons": decision.reasons,
            "criteria": markdown_table(
                {"criterion": one.name, "passed": "yes" if one.passed else "no", "found": one.found}
                for one in decision.criteria
            ),
        },
    )
