"""Settings of the environment and of pipelines: overrides and clear refusals."""

from typing import Any

import pytest
from pydantic import ValidationError

from qa_assets.definitions import pipelines
from qa_assets.settings import SettingsError, load_settings
from qa_assets_tests.pipelines import configured


def test_pipelines_differ_where_they_should() -> None:
    shipped = pipelines()
    assert shipped["quickstart"].data.source == "generated"
    assert shipped["squad"].model.base == "google/flan-t5-small"


def test_environment_overrides_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings()
    monkeypatch.setenv("QA_ASSETS_RAY_WORKERS", "3")
    monkeypatch.setenv("QA_ASSETS_KAFKA_PARTITIONS", "4")
    monkeypatch.setenv("QA_ASSETS_KAFKA_MAX_MESSAGE_BYTES", "2000000")
    after = load_settings()
    assert after.ray == before.ray.model_copy(update={"workers": 3})
    assert (after.kafka.partitions, after.kafka.max_message_bytes) == (4, 2_000_000)
    assert after.spark == before.spark


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QA_ASSETS_KAFKA_PARTITIONS", "many"),
        ("QA_ASSETS_KEEP_VERSIONS", "0"),
        ("QA_ASSETS_RAY_WORKER", "1"),
        ("QA_ASSETS_UI_PORT", "-1"),
    ],
)
def test_unusable_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings()


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"data": {"train_examples": 0}}, "data.train_examples"),
        ({"training": {"learning_rates": 1}}, "training.learning_rates"),
        ({"gate": {"margin": -1}}, "gate.margin"),
        ({"model": {"hub_repository": "nobody"}}, "model.hub_repository"),
        ({"task": {"no_answer": ""}}, "task.no_answer"),
        ({"tasks": {}}, "tasks"),
    ],
)
def test_unusable_field_of_a_pipeline_is_refused_by_name(parts: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refused:
        configured(**parts)
    assert place in {".".join(map(str, error["loc"])) for error in refused.value.errors()}
