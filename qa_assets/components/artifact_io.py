"""How assets hand each other artefacts: an asset's argument is the latest artefact of its input.

Assets write their directories themselves (`ArtifactStore.write`) and hand Dagster no value: the
IO manager only reads.
"""

from dataclasses import dataclass

import dagster as dg

from qa_assets.core.artifacts import Artifact, ArtifactStore
from qa_assets.settings import Settings


@dataclass
class ArtifactIOManager(dg.IOManager):
    """Finds the artefacts of `<pipeline>/<asset>` below the store's directory."""

    settings: Settings

    def handle_output(self, context: dg.OutputContext, obj: None) -> None:
        """Nothing is left to do: the asset has written its artefact."""

    def load_input(self, context: dg.InputContext) -> Artifact:
        """The latest artefact of an asset.

        Raises:
            ArtifactMissingError: it was never materialised.
        """
        *pipeline, asset = context.asset_key.path
        return ArtifactStore(self.settings.artifacts.joinpath(*pipeline)).latest(asset)
