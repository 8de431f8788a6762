"""How assets hand each other artefacts: an asset's argument is the latest artefact of its input.

Assets write their directories themselves (`ArtifactStore.write`) and hand Dagster no value: the
IO manager only reads.
"""

from typing import Any

import dagster as dg

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.settings import Settings


class ArtifactIOManager(dg.IOManager):
    """Finds the artefacts of `<pipeline>/<asset>` below the store's directory."""

    def __init__(self, settings: Settings) -> None:
        """Take where artefacts lie."""
        self._root = settings.artifacts

    def handle_output(self, context: dg.OutputContext, obj: None) -> None:
        """Nothing is left to do: the asset has written its artefact."""

    def load_input(self, context: dg.InputContext) -> Artifact:
        """The latest artefact of an asset.

        Raises:
            ArtifactMissingError: it was never materialised.
        """
        *pipeline, asset = context.asset_key.path
        return ArtifactStore(self._root.joinpath(*pipeline)).latest(asset)


def materialized(
    artifact: Artifact, key: dg.AssetKey, **metadata: Any
) -> dg.MaterializeResult[None]:
    """What an asset returns of the artefact that it wrote. Dagster plots numbers over time."""
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(artifact.data_version),
        metadata={
            **metadata,
            "path": dg.MetadataValue.path(str(artifact.path)),
            "inputs": dg.MetadataValue.json(dict(artifact.inputs)),
        },
    )
