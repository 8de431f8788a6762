"""Jobs: what is launched as a whole, beside materialising assets."""

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.settings import Settings
from qa_assets.training.config import RECIPE

rollback = dg.define_asset_job(
    "rollback",
    selection=dg.AssetSelection.assets("champion", "onnx_model", "spark_nlp_model"),
    config={"ops": {"champion": {"config": {"rollback": True}}}},
    description="Puts the champion before this one back, and makes anew what serves of it.",
)

train_full = dg.define_asset_job(
    "train_full",
    selection=dg.AssetSelection.assets("test_report").upstream().required_multi_asset_neighbors(),
    config={"ops": {"checkpoints": {"config": RECIPE.model_dump(exclude_defaults=True)}}},
    description="From raw data to the report on test, by the recipe for quality: hours on a CPU.",
)


@dg.op
def remove_old_versions(
    context: dg.OpExecutionContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
) -> None:
    """Remove what is older than the newest versions of each asset and named by no artefact."""
    removed = store.prune(settings.keep_versions)
    for asset, paths in removed.items():
        context.log.info("%s: removed %s", asset, ", ".join(path.name for path in paths))
        context.log_event(
            dg.AssetObservation(
                asset,
                description=f"{len(paths)} old versions removed",
                metadata={"removed": dg.MetadataValue.json([str(path) for path in paths])},
            )
        )
    if not removed:
        context.log.info("nothing to remove: %d versions are kept of each", settings.keep_versions)


@dg.job(description="Remove old versions of the artefacts, but none that an artefact still names.")
def clean_up() -> None:
    """`dg launch --job clean_up`, or the button in the UI."""
    remove_old_versions()
