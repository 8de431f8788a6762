"""From a pipeline's settings to its Dagster definitions, and the resources that they need."""

from typing import Any

import dagster as dg

from qa_assets.components import data, deployment, evaluation, promotion, streaming, training
from qa_assets.components.artifact_io import ArtifactIOManager
from qa_assets.components.pipeline import Pipeline, PipelineConfig
from qa_assets.components.spark_resource import SparkResource
from qa_assets.settings import Settings


def build_pipeline(name: str, config: PipelineConfig[Any]) -> dg.Definitions:
    """The assets, checks, jobs and sensor of a pipeline, to be bound to `resources`.

    The name is the prefix of asset keys, and of jobs, sensor, topics, experiment and registered
    model.
    """
    pipeline = Pipeline(name, config)
    everything = dg.define_asset_job(
        pipeline.op("all"),
        selection=dg.AssetSelection.groups(name) | dg.AssetSelection.assets("kept_versions"),
        description="The whole pipeline with its checks, and `kept_versions`.",
    )
    stages = (data, training, evaluation, promotion, deployment, streaming)
    return dg.Definitions.merge(
        *(stage.build(pipeline) for stage in stages), dg.Definitions(jobs=[everything])
    )


def resources(settings: Settings) -> dict[str, Any]:
    """What the assets of every pipeline take from the environment."""
    return {
        "settings": settings,
        "io_manager": ArtifactIOManager(settings),
        "spark": SparkResource.of(settings),
    }
