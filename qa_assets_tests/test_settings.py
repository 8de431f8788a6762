"""Settings: profiles, overrides and clear refusals."""

import pytest

from qa_assets.settings import SettingsError, load_settings


def test_profiles_differ_where_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(profile="quickstart").data.source == "generated"
    assert load_settings(profile="squad").model.base == "google/flan-t5-small"
    assert not load_settings(profile="cluster").kafka.embedded
    monkeypatch.setenv("QA_ASSETS_PROFILE", "squad")
    assert load_settings().profile == "squad"


def test_environment_overrides_one_value_of_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings(profile="quickstart")
    monkeypatch.setenv("QA_ASSETS_DATA_TRAIN_QUESTIONS", "40")
    monkeypatch.setenv("QA_ASSETS_KAFKA_PARTITIONS", "4")
    monkeypatch.setenv("QA_ASSETS_GATE_HAS_ANSWER_F1", "30")
    after = load_settings(profile="quickstart")
    assert after.data == before.data.model_copy(update={"train_questions": 40})
    assert after.kafka.partitions == 4
    assert after.gate == before.gate.model_copy(update={"has_answer_f1": 30})
    assert after.training == before.training


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QA_ASSETS_KAFKA_PARTITIONS", "many"),
        ("QA_ASSETS_DATA_TRAIN_QUESTIONS", "0"),
        ("QA_ASSETS_TRAINING_LEARNING_RATES", "1"),
        ("QA_ASSETS_GATE_MARGIN", "-1"),
        ("QA_ASSETS_MODEL_HUB_REPOSITORY", "nobody"),
        ("QA_ASSETS_PROFILE", "laptop"),
    ],
)
def test_unusable_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings()
