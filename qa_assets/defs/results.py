"""What every asset returns of the artefact that it wrote.

The settings and the artefact store need no resource class: they are bound as they are.
"""

from typing import Any

import dagster as dg

from qa_assets.core.artifacts import Artifact


def materialized(artifact: Artifact, **metadata: Any) -> dg.MaterializeResult[Any]:
    """What every asset returns: path, data version and what is worth showing.

    Numbers are plotted by Dagster over materialisations.
    """
    return dg.MaterializeResult(
        asset_key=artifact.asset,
        data_version=dg.DataVersion(artifact.data_version),
        metadata={
            "path": dg.MetadataValue.path(str(artifact.path)),
            "inputs": dg.MetadataValue.json(dict(artifact.inputs)),
            **metadata,
        },
    )
