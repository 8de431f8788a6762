"""The champion: the candidate that the gate lets pass, which everything downstream follows."""

import dagster as dg

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.promoting import card_writer, registry_of
from qa_assets.defs.results import materialized
from qa_assets.defs.tables import markdown_table
from qa_assets.promotion import champions
from qa_assets.settings import Settings


class ChampionConfig(dg.Config):
    """What to do: promote the candidate, or else put the earlier champion back."""

    rollback: bool = False


@dg.asset(
    deps=["best_model", "test_report"],
    group_name="model",
    kinds={"huggingface", "mlflow"},
    owners=["team:ml"],
    code_version="1",
)
def champion(
    config: ChampionConfig,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[ArtifactStore],
) -> dg.MaterializeResult[None]:
    """The model that serves, with its report and model card, registered in MLflow.

    The candidate, if `test_report` lets it pass the gate. The job `rollback` puts the champion
    before this one back.
    """
    registry = registry_of(settings)
    if config.rollback:
        outcome = champions.rollback(store, registry)
    else:
        outcome = champions.promote(store, registry, settings.gate, card_writer(settings))
    info = outcome.artifact.info
    card = (outcome.artifact.path / champions.CARD_FILE).read_text(encoding="utf-8")
    scores = info["scores"]["candidate"]
    return materialized(
        outcome.artifact,
        done=outcome.done,
        registered_model=registry.name,
        version=outcome.version.number,
        mlflow=settings.tracking_uri,
        gate=markdown_table(info["gate"]),
        card=dg.MetadataValue.md(card.split("---\n", 2)[-1]),
        **{f"test_{key}": value for key, value in scores.items()},
    )
