"""From a pipeline's settings to its Dagster definitions, and the resources that they need."""

from typing import Any

import dagster as dg

from qa_assets.components import (
    data,
    data_checks,
    deployment,
    deployment_checks,
    evaluation,
    promotion,
    sensors,
    streaming,
    streaming_checks,
    training,
)
from qa_assets.components.artifact_io import ArtifactIOManager
from qa_assets.components.pipeline import Pipeline, PipelineConfig
from qa_assets.components.spark_resource import SparkResource
from qa_assets.settings import Settings

_STAGES = (
    data,
    data_checks,
    training,
    evaluation,
    promotion,
    deployment,
    deployment_checks,
    streaming,
    streaming_checks,
    sensors,
)


def build_pipeline(name: str, config: PipelineConfig[Any]) -> dg.Definitions:
    """The assets, checks, jobs and sensor of a pipeline, to be bound to `resources`.

    Args:
        name: prefix of asset keys, and of jobs, sensor, topics, experiment and registered model.
        config: what it makes.
    """
    pipeline = Pipeline(name, config)
    return dg.Definitions.merge(
        *(stage.build(pipeline) for stage in _STAGES), dg.Definitions(jobs=[_everything(pipeline)])
    )


def _everything(pipeline: Pipeline) -> Any:
    own = dg.AssetSelection.groups(pipeline.name)
    return dg.define_asset_job(
        pipeline.op("all"),
        selection=own | dg.AssetSelection.assets("kept_versions"),
        description="The whole pipeline with its checks, and `kept_versions`.",
    )


def resources(settings: Settings) -> dict[str, Any]:
    """What the assets of every pipeline take from the environment."""
    return {
        "settings": settings,
        "io_manager": ArtifactIOManager(settings),
        "spark": SparkResource.of(settings),
    }
