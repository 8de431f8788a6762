"""Which versions of the artefacts are kept; the job `clean_up` materialises it."""

import hashlib
from pathlib import Path

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.tables import markdown_table
from qa_assets.settings import Settings


@dg.asset(
    group_name="data",
    kinds={"storage"},
    owners=["team:data"],
    code_version="1",
)
def kept_versions(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """The newest versions of each asset, and older ones that an artefact still names.

    What else there was is removed when this is materialised.
    """
    pruned = store.prune(settings.keep_versions)
    kept = [_version(path) | {"kept": why} for path, why in pruned.kept.items()]
    names = "\n".join(str(path) for path in pruned.kept)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hashlib.sha256(names.encode()).hexdigest()),
        metadata={
            "removed_count": len(pruned.removed),
            "kept_count": len(kept),
            "removed": markdown_table(map(_version, pruned.removed)) if pruned.removed else "none",
            "kept": markdown_table(kept) if kept else "none",
        },
    )


def _version(path: Path) -> dict[str, str]:
    return {"asset": path.parent.name, "version": path.name}
