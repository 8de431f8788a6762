"""Jobs: what is launched as a whole, beside materialising assets."""

import threading

import dagster as dg

from qa_assets.artifacts import ArtifactStore
from qa_assets.settings import Settings

rollback = dg.define_asset_job(
    "rollback",
    selection=dg.AssetSelection.assets("champion", "onnx_model", "spark_nlp_model"),
    config={"ops": {"champion": {"config": {"rollback": True}}}},
    description="Puts the champion before this one back, and makes anew what serves of it.",
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


@dg.op
def answer_as_they_come() -> None:
    """The always-on consumer, until the run is terminated; it finishes its batch then."""
    from qa_assets.always_on import keep_answering

    code = keep_answering(threading.Event())
    raise dg.Failure(f"the consumer ended by itself, with exit code {code}: see its output")


@dg.job(description="Answer questions as they come; the sensor starts no run meanwhile.")
def stream() -> None:
    """Launched in the UI (Jobs), and terminated there."""
    answer_as_they_come()
