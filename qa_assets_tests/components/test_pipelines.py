"""What a `defs.yaml` may hold, and the definitions that come of it."""

from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from qa_assets import components
from qa_assets.components.build import build_pipeline, resources
from qa_assets.components.component import PipelineComponent
from qa_assets.settings import load_settings

# made of the folders under `tasks`
Classification: type[PipelineComponent] = vars(components)["Classification"]
QuestionAnswering: type[PipelineComponent] = vars(components)["QuestionAnswering"]


def definitions(component: Any, name: str, **attributes: Any) -> dg.Definitions:
    config = component.model()(**attributes)
    return dg.Definitions.merge(
        build_pipeline(name, config), dg.Definitions(resources=resources(load_settings()))
    )


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"lerning_rate": 1e-3}, "lerning_rate"),
        ({"training": {"lerning_rate": 1e-3}}, "training.lerning_rate"),
        ({"training": {"epochs": -3}}, "training.epochs"),
        ({"task": {"out_of_scope": "oos", "multi_label": True}}, "task"),
        ({"serving": {"engine": "ctranslate2"}}, ""),
    ],
)
def test_faults_of_a_yaml_are_named_by_their_place(attributes: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as error:
        Classification.model()(**attributes)
    assert [".".join(map(str, fault["loc"])) for fault in error.value.errors()] == [place]


def test_every_field_has_a_type_and_help() -> None:
    schema = QuestionAnswering.model().model_json_schema()
    fields = schema["$defs"]["DataConfig"]["properties"]
    assert all("description" in field for field in fields.values())
    assert all("description" in field for field in schema["properties"].values())


@pytest.mark.parametrize("engine", ["spark_nlp", "ctranslate2"])
def test_responses_depend_on_the_chosen_engine_alone(engine: str) -> None:
    defs = definitions(QuestionAnswering, "mine", serving={"engine": engine})
    graph = defs.resolve_asset_graph()
    parents = {key.path[-1] for key in graph.get(dg.AssetKey(["mine", "answers"])).parent_keys}
    assert parents == {f"{engine}_model", "question_feed", "questions"}


def test_everything_is_named_after_the_pipeline() -> None:
    """So that two pipelines of a task live in one code location."""
    both = dg.Definitions.merge(
        build_pipeline("a", Classification.config_type.model_validate({})),
        build_pipeline("b", Classification.config_type.model_validate({})),
        dg.Definitions(resources=resources(load_settings())),
    )
    keys = both.resolve_asset_graph().get_all_asset_keys()
    assert {key.path[0] for key in keys} == {"a", "b"}
    names = [item.name for item in (*(both.jobs or ()), *(both.sensors or ()))]
    assert all(name.startswith(("a_", "b_")) for name in names)
    assert len(names) == len(set(names))
