"""The code location: loads everything under `defs/` and binds the profile's resources."""

from pathlib import Path

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.resources.spark import SparkResource
from qa_assets.defs.versions import with_settings
from qa_assets.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the profile that the environment names."""
    settings = load_settings()
    bound = dg.Definitions(
        resources={
            "settings": settings,
            "store": ArtifactStore(settings.artifacts),
            "spark": SparkResource.of(settings),
        },
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
        metadata={"settings": dg.MetadataValue.json(settings.model_dump(mode="json"))},
    )
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__))
    return with_settings(dg.Definitions.merge(bound, loaded), settings)
