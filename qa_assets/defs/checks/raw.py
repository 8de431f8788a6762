"""Checks of the raw data."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.core.files import hash_files
from qa_assets.tasks.question_answering.formats import inspect


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec("checksums", asset="raw_squad", blocking=True),
        dg.AssetCheckSpec("counts", asset="raw_squad", blocking=True),
    ]
)
def raw_checks(store: dg.ResourceParam[ArtifactStore]) -> Iterator[dg.AssetCheckResult]:
    """The files are as they were fetched, and hold questions that have an answer."""
    raw = store.latest("raw_squad")
    files = raw.info["files"]
    changed = [name for name in files if hash_files(raw.path / name) != files[name]["sha256"]]
    yield dg.AssetCheckResult(
        check_name="checksums",
        passed=not changed,
        metadata={"changed": ", ".join(changed) or "none"},
    )
    counted = {name: asdict(inspect(raw.path / name)) for name in files}
    without = [name for name, facts in counted.items() if not facts["answerable"]]
    yield dg.AssetCheckResult(
        check_name="counts",
        passed=counted == json.loads(json.dumps(files)) and not without,
        metadata={"found": dg.MetadataValue.json(counted)},
    )
