"""Small pipelines as Dagster definitions, bound to a directory of the test's own."""

from pathlib import Path
from typing import Any

import dagster as dg

from qa_assets.components.build import build_pipeline, resources
from qa_assets.components.pipeline import Pipeline, PipelineConfig
from qa_assets.settings import Settings, load_settings
from qa_assets.tasks.question_answering import QuestionAnswering

NAME = "tried"


def configured(**parts: Any) -> PipelineConfig[QuestionAnswering]:
    """A question-answering pipeline; parts are those of its YAML."""
    return PipelineConfig[QuestionAnswering](**({"task": {}} | parts))


def pipeline(**parts: Any) -> Pipeline:
    """The same, as the builders of stages take it."""
    return Pipeline(NAME, configured(**parts))


def key(asset: str) -> dg.AssetKey:
    """An asset of it."""
    return dg.AssetKey([NAME, asset])


def definitions(
    home: Path, config: PipelineConfig[Any], *more: dg.Definitions, name: str = NAME, **bound: Any
) -> tuple[dg.Definitions, Settings]:
    """All definitions of a pipeline, with their resources.

    Args:
        home: where everything lies.
        config: of the pipeline.
        more: further definitions.
        name: of the pipeline.
        bound: resources in place of the usual ones.
    """
    settings = load_settings(home=home)
    usual = dg.Definitions(resources=resources(settings) | bound)
    return dg.Definitions.merge(build_pipeline(name, config), usual, *more), settings


def materialise(
    location: dg.Definitions, instance: dg.DagsterInstance, *assets: str, **run_config: Any
) -> dg.ExecuteInProcessResult:
    """Materialise assets of the pipeline, with their checks."""
    return location.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[key(asset) for asset in assets],
        run_config=run_config,
        raise_on_error=False,
    )
