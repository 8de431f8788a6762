"""Pipelines as Dagster components: a class for each task, with the attributes `PipelineConfig`."""

from typing import Any, ClassVar, Self

import dagster as dg
from pydantic import BaseModel, Field, create_model

from qa_assets.components.build import build_pipeline
from qa_assets.components.pipeline import PipelineConfig
from qa_assets.core.task import Task


class PipelineComponent(dg.Component, dg.Resolvable):
    """A pipeline declared in `qa_assets/defs/<pipeline>/defs.yaml`."""

    config_type: ClassVar[type[PipelineConfig[Any]]]

    def __init__(self, config: PipelineConfig[Any]) -> None:
        """Take what the pipeline makes."""
        self.config = config

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The schema of `attributes`."""
        return cls.config_type

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """The component of attributes in which `{{ ... }}` may stand in place of a text."""

        def rendered(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: rendered(item) for name, item in value.items()}
            if isinstance(value, list | tuple):
                return [rendered(item) for item in value]
            template = isinstance(value, str) and "{{" in value
            return context.resolve_value(value) if template else value

        return cls(cls.config_type(**rendered(model.model_dump(exclude_unset=True))))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the pipeline, which is called like its folder."""
        return build_pipeline(context.path.name, self.config)


def component_type(task: type[Task], module: str) -> type[PipelineComponent]:
    """The component class of a task's pipelines, called like the task's class."""
    config = create_model(
        f"{task.__name__}Pipeline",
        __base__=PipelineConfig[task],  # type: ignore[valid-type]
        task=(task, Field(task(), description=f"Settings of the task: {task.__doc__}")),
    )
    members = {
        "__doc__": f"A pipeline of the task {task.name}: {task.__doc__}",
        "__module__": module,
        "config_type": config,
    }
    return type(task.__name__, (PipelineComponent,), members)
