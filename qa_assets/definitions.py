"""The code location: loads the pipelines under `defs/` and binds what they take from outside."""

from pathlib import Path
from typing import Any

import dagster as dg

from qa_assets.components.build import resources
from qa_assets.components.component import PipelineComponent
from qa_assets.components.pipeline import PipelineConfig
from qa_assets.settings import load_settings

_HERE = Path(__file__).parent


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of all pipelines, with the settings of the environment."""
    settings = load_settings()
    bound = dg.Definitions(
        resources=resources(settings),
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
        metadata={"settings": dg.MetadataValue.json(settings.model_dump(mode="json"))},
    )
    return dg.Definitions.merge(bound, dg.load_from_defs_folder(path_within_project=Path(__file__)))


def pipelines() -> dict[str, PipelineConfig[Any]]:
    """The settings of the pipelines under `defs/`, by name."""
    tree = dg.ComponentTree.for_project(Path(__file__))
    names = sorted(path.parent.name for path in (_HERE / "defs").glob("*/defs.yaml"))
    components = {name: tree.load_component(name) for name in names}
    return {
        name: component.config
        for name, component in components.items()
        if isinstance(component, PipelineComponent)
    }
