"""Which versions of the artefacts of all pipelines are kept; the job `clean_up` materialises it."""

import hashlib
from pathlib import Path

import dagster as dg

from qa_assets.components.tables import markdown_table
from qa_assets.core.artifacts import ArtifactStore
from qa_assets.settings import Settings


@dg.asset(
    group_name="storage",
    kinds={"storage"},
    owners=["team:platform"],
    code_version="2",
)
def kept_versions(settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[None]:
    """The newest versions of each asset, and older ones that an artefact still names.

    Materialising this removes all others.
    """
    homes = sorted(path for path in settings.artifacts.glob("*") if path.is_dir())
    results = [ArtifactStore(home).prune(settings.keep_versions) for home in homes]
    removed = [_version(path) for result in results for path in result.removed]
    reasons = {path: why for result in results for path, why in result.kept.items()}
    kept = [_version(path) | {"kept": why} for path, why in reasons.items()]
    names = "\n".join(map(str, reasons))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hashlib.sha256(names.encode()).hexdigest()),
        metadata={
            "removed_count": len(removed),
            "kept_count": len(kept),
            "removed": markdown_table(removed) if removed else "none",
            "kept": markdown_table(kept) if kept else "none",
        },
    )


def _version(path: Path) -> dict[str, str]:
    return {"asset": f"{path.parents[1].name}/{path.parent.name}", "version": path.name}


clean_up = dg.define_asset_job(
    "clean_up",
    selection=dg.AssetSelection.assets("kept_versions"),
    description="Removes old versions of the artefacts, but none that an artefact still names.",
)
