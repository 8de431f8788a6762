"""The champion on the Hugging Face hub, where a setting names a repository."""

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.settings import Settings, load_settings


@dg.asset(
    deps=["champion"],
    group_name="deployment",
    kinds={"huggingface"},
    owners=["team:ml"],
    code_version="1",
)
def published_model(
    settings: dg.ResourceParam[Settings], store: dg.ResourceParam[ArtifactStore]
) -> dg.MaterializeResult[None]:
    """Model and card in the repository `QA_ASSETS_MODEL_HUB_REPOSITORY`; the token is HF_TOKEN."""
    from qa_assets.promotion import hub

    model, repository = store.latest("champion"), settings.model.hub_repository
    if repository is None:
        raise dg.Failure("set QA_ASSETS_MODEL_HUB_REPOSITORY to the repository to upload to")
    published = hub.publish(
        model.path,
        repository,
        private=settings.model.hub_private,
        message=f"data version {model.data_version[:12]}",
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(model.data_version),
        metadata={
            "repository": dg.MetadataValue.url(published.url),
            "commit": published.commit,
            "files": dg.MetadataValue.json(published.files),
        },
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Nothing, unless the settings name a repository."""
    wanted = load_settings().model.hub_repository is not None
    return dg.Definitions(assets=[published_model] if wanted else [])
