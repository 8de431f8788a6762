"""The data assets really materialised: checks, what makes them stale, the job that cleans up."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from qa_assets.core.artifacts import ArtifactStore
from qa_assets.defs.storage import clean_up, kept_versions
from qa_assets.settings import Settings, load_settings
from qa_assets_tests import pipelines
from qa_assets_tests.components.shared_spark import SharedSpark, shared
from qa_assets_tests.data.test_sources import article, write_squad
from qa_assets_tests.pipelines import configured, key, materialise

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dg.asset(deps=[key("train_split")], key=key("learner"))
def learner() -> None:
    """Something downstream."""


@pytest.fixture
def place(spark: "SparkSession", tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mine").mkdir()
    write_squad(tmp_path / "mine" / "train.json", 12)
    dev = {"data": [article(n) for n in (50, 51)]}
    (tmp_path / "mine" / "dev.json").write_text(json.dumps(dev))
    with shared(spark):
        yield tmp_path


def definitions(
    place: Path, task: dict[str, Any] | None = None, **data: Any
) -> tuple[dg.Definitions, Settings]:
    config = configured(
        task=task or {},
        data={"source": str(place / "mine"), "valid_examples": 4} | data,
        model={"base": "tiny"},
    )
    settings = load_settings(home=place, keep_versions=2)
    more = dg.Definitions(assets=[kept_versions, learner], jobs=[clean_up])
    bound: dict[str, Any] = {"settings": settings, "spark": SharedSpark.of(settings)}
    return pipelines.definitions(place, config, more, **bound)[0], settings


def stale(made: dg.Definitions, instance: dg.DagsterInstance) -> set[str]:
    graph = made.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    return {
        one.path[-1]
        for one in graph.materializable_asset_keys
        if resolver.get_status(one) != StaleStatus.FRESH
    } - UNTOUCHED


UNTOUCHED = {
    "checkpoints", "best_model", "test_report", "champion", "onnx_model", "ctranslate2_model",
    "spark_nlp_model", "question_feed", "answers", "answer_report",
}  # fmt: skip
"""Assets that are not made here."""
DATA = ("raw_squad", "train_split", "valid_split", "test_split", "rejected_questions")


def test_stale_after_a_changed_setting_but_not_after_the_same_again(place: Path) -> None:
    with dg.instance_for_test() as instance:
        made, settings = definitions(place)
        result = materialise(made, instance, *DATA, "learner")
        assert result.success
        checks = {
            (one.asset_key.path[-1], one.check_name): one.passed
            for one in result.get_asset_check_evaluations()
        }
        assert len(checks) == 15
        assert all(checks.values()), checks
        assert stale(made, instance) == {"kept_versions"}
        assert materialise(made, instance, *DATA).success
        assert stale(made, instance) == {"kept_versions"}

        store = ArtifactStore(settings.artifacts / pipelines.NAME)
        before = store.latest("train_split")
        assert len(store.versions("train_split")) == 2
        other, _ = definitions(place, {"no_answer": "nothing"})
        assert stale(other, instance) >= {"train_split", "valid_split", "test_split"}
        assert "raw_squad" not in stale(other, instance)
        assert materialise(other, instance, *DATA).success
        assert stale(other, instance) == {"learner", "kept_versions"}
        assert store.latest("train_split").data_version != before.data_version

        oldest, *newest = store.versions("train_split")
        cleaned = other.resolve_job_def("clean_up").execute_in_process(instance=instance)
        assert cleaned.success
        assert store.versions("train_split") == newest
        (shown,) = cleaned.asset_materializations_for_node("kept_versions")
        assert oldest.name in str(shown.metadata["removed"].value)
        assert "the latest" in str(shown.metadata["kept"].value)


def test_too_many_bad_records_stop_what_is_downstream_and_are_shown(place: Path) -> None:
    content = {"data": [article(n) for n in range(12)]}
    content["data"][3]["paragraphs"][0]["qas"][0]["question"] = ""
    (place / "mine" / "train.json").write_text(json.dumps(content))
    with dg.instance_for_test() as instance:
        made, _ = definitions(place)
        result = materialise(made, instance, *DATA, "learner")
        assert not result.success
        failed = {
            (one.asset_key.path[-1], one.check_name)
            for one in result.get_asset_check_evaluations()
            if not one.passed and one.severity == dg.AssetCheckSeverity.ERROR
        }
        assert failed == {("train_split", "rejected_share"), ("valid_split", "rejected_share")}
        assert instance.get_latest_materialization_event(key("learner")) is None
        (bad,) = result.asset_materializations_for_node("tried_splits")[-1:]
        assert "question_blank" in str(bad.metadata["reasons"].value)
        allowed, _ = definitions(place, max_rejected_share=0.05)
        assert materialise(allowed, instance, *DATA, "learner").success
