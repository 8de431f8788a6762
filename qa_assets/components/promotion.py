"""The champion, which everything downstream follows; the gate before it; its publication."""

import dagster as dg

from qa_assets.components.pipeline import Pipeline
from qa_assets.components.tables import markdown_table
from qa_assets.components.training import task_of
from qa_assets.core.artifacts import Artifact
from qa_assets.promotion import champions, registry
from qa_assets.promotion.card import CardWriter
from qa_assets.settings import Settings


class ChampionConfig(dg.Config):
    """What to do: promote the candidate, or else put the earlier champion back."""

    rollback: bool = False


def build(pipeline: Pipeline) -> dg.Definitions:
    """The assets of this stage, the gate, and the job that rolls back."""
    assets, repository = [_champion(pipeline)], pipeline.config.model.hub_repository
    if repository is not None:
        assets.append(_published_model(pipeline, repository))
    serving = [f"{name}_model" for name in ("onnx", "ctranslate2", "spark_nlp")]
    if pipeline.task.kind == "encoder":
        serving.remove("ctranslate2_model")
    rollback = dg.define_asset_job(
        pipeline.op("rollback"),
        selection=dg.AssetSelection.assets(*map(pipeline.key, ["champion", *serving])),
        config={"ops": {pipeline.op("_champion"): {"config": {"rollback": True}}}},
        description="Puts the champion before this one back, and makes anew what serves of it.",
    )
    return dg.Definitions(assets=assets, asset_checks=[_promotion_gate(pipeline)], jobs=[rollback])


def _champion(pipeline: Pipeline) -> dg.AssetsDefinition:
    @dg.asset(
        **pipeline.spec("champion", {"huggingface", "mlflow"}, "ml"),
        ins=pipeline.keys("best_model", "test_report"),
        code_version="1",
    )
    def champion(
        config: ChampionConfig,
        settings: dg.ResourceParam[Settings],
        best_model: Artifact,
        test_report: Artifact,
    ) -> dg.MaterializeResult[None]:
        """The model that serves, with its report and model card, registered in MLflow.

        The candidate, if `test_report` lets it pass the gate. The job that rolls back puts the
        champion before this one back.
        """
        store = pipeline.store(settings)
        models = registry.Registry(settings.tracking_uri, f"qa_assets_{pipeline.name}")
        if config.rollback:
            outcome = champions.rollback(store, models)
        else:
            model = pipeline.config.model
            name, gate = model.hub_repository or models.name, pipeline.config.gate
            writer = CardWriter(task_of(best_model), name, model.license)
            outcome = champions.promote(store, models, best_model, test_report, gate, writer)
        info = outcome.artifact.info
        card = (outcome.artifact.path / champions.CARD_FILE).read_text(encoding="utf-8")
        return pipeline.materialized(
            outcome.artifact,
            done=outcome.done,
            **{f"test_{key}": value for key, value in info["scores"]["candidate"].items()},
            gate=markdown_table(info["gate"]),
            card=dg.MetadataValue.md(card.split("---\n", 2)[-1]),
            registered_model=models.name,
            version=outcome.version.number,
            mlflow=settings.tracking_uri,
        )

    return champion


def _promotion_gate(pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=pipeline.key("test_report"),
        additional_ins=pipeline.keys("best_model"),
        blocking=True,
    )
    def promotion_gate(
        settings: dg.ResourceParam[Settings], test_report: Artifact, best_model: Artifact
    ) -> dg.AssetCheckResult:
        """The candidate may become the champion, by the `gate` of the pipeline."""
        store, task = pipeline.store(settings), task_of(best_model)
        decision = champions.review(store, task, best_model, test_report, pipeline.config.gate)
        criteria = (
            {"criterion": row.name, "passed": "yes" if row.passed else "no", "reason": row.reason}
            for row in decision.criteria
        )
        return dg.AssetCheckResult(
            passed=decision.passed,
            description=decision.reasons,
            metadata={"reasons": decision.reasons, "criteria": markdown_table(criteria)},
        )

    return promotion_gate


def _published_model(pipeline: Pipeline, repository: str) -> dg.AssetsDefinition:
    @dg.asset(
        **pipeline.spec("published_model", {"huggingface"}, "ml"),
        ins=pipeline.keys("champion"),
        code_version="1",
    )
    def published_model(champion: Artifact) -> dg.MaterializeResult[None]:
        """Model and card in the repository `model.hub_repository`; the token is HF_TOKEN."""
        from qa_assets.promotion import hub

        published = hub.publish(
            champion.path,
            repository,
            private=pipeline.config.model.hub_private,
            message=f"data version {champion.data_version[:12]}",
        )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(champion.data_version),
            metadata={
                "repository": dg.MetadataValue.url(published.url),
                "commit": published.commit,
                "files": dg.MetadataValue.json(published.files),
            },
        )

    return published_model
