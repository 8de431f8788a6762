"""Promotion and rollback on real directories and the real MLflow."""

import json
import math
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from qa_assets.core.artifacts import Artifact
from qa_assets.models import base_model
from qa_assets.promotion import champions, gate
from qa_assets.promotion.champions import Outcome, PromotionError
from qa_assets.promotion.registry import Registry
from qa_assets_tests.promotion_bench import Bench, report


def promote(bench: Bench, registry: Registry | None = None) -> Outcome:
    """Promote the newest candidate by the newest report."""
    candidate, reported = bench.store.latest("best_model"), bench.store.find("test_report")
    return champions.promote(
        bench.store, registry or bench.registry, candidate, reported, bench.gate, bench.card_writer
    )


def review(bench: Bench) -> gate.Decision:
    """Judge the newest candidate by the newest report."""
    candidate, reported = bench.store.latest("best_model"), bench.store.find("test_report")
    return champions.review(bench.store, bench.task, candidate, reported, bench.gate)


def promoted(bench: Bench, name: str) -> Outcome:
    """The champion that a candidate of that name becomes, slightly better than the one before."""
    bench.candidate(name)
    bench.reported(report(0.5 if bench.store.find("champion") else None))
    return promote(bench)


def state(bench: Bench) -> tuple[Any, ...]:
    """All that a refused promotion or rollback has to leave as it was."""
    link = bench.store.link("champion")
    served = link.readlink() if link.is_symlink() else None
    versions = sorted(path.name for path in link.parent.glob("*"))
    return bench.registry.champion(), bench.registry.versions(), served, versions


def refused(bench: Bench, words: str) -> None:
    before = state(bench)
    with pytest.raises(PromotionError, match=words):
        promote(bench)
    assert state(bench) == before


def test_first_champion_is_registered_with_all_that_made_it(bench: Bench) -> None:
    candidate = bench.candidate("first")
    bench.reported(report())
    outcome = promote(bench)
    assert outcome.version.number == 1
    assert outcome.artifact.data_version == candidate.data_version
    assert bench.store.latest("champion").path == outcome.artifact.path == outcome.version.path
    assert bench.registry.champion() == outcome.version

    with sqlite3.connect(bench.home / "mlflow.db") as database:
        ((source,),) = database.execute("select source from model_versions")
        tags = dict(database.execute("select key, value from model_version_tags"))
    assert source == str(outcome.artifact.path)
    assert tags["data_version"] == candidate.data_version
    assert json.loads(tags["config"])["max_target_tokens"] == 8
    assert json.loads(tags["data"])["train_split_examples"] == 4000
    assert json.loads(Path(tags["report"]).read_text())["scores"]["candidate"]["f1"] == 60
    assert Path(tags["model_card"]).read_text().startswith("---\n")
    assert tags["code_version"]


def test_champion_outlives_candidate_and_report_without_a_copy(bench: Bench) -> None:
    candidate = bench.candidate("first")
    report_ = bench.reported(report())
    artifact = promote(bench).artifact
    weights = "model.safetensors"
    assert (artifact.path / weights).samefile(candidate.path / weights)
    for gone in (candidate, report_):
        shutil.rmtree(gone.path)
    base_model.load(artifact.path)
    assert champions.read_report(artifact)["scores"]
    assert (artifact.path / "report.html").is_file()


def test_better_candidate_takes_over(bench: Bench) -> None:
    first, second = promoted(bench, "first"), promoted(bench, "second")
    assert second.version.number == 2
    assert bench.store.latest("champion").path == second.artifact.path
    assert first.artifact.path.is_dir()


def test_equal_candidate_keeps_the_champion(bench: Bench) -> None:
    first = promoted(bench, "first")
    before = state(bench)
    bench.candidate("first")
    assert review(bench).passed
    again = promote(bench)
    assert again.artifact == first.artifact
    assert again.version == first.version
    assert "is the champion" in again.done
    assert state(bench) == before


def test_worse_candidate_is_refused(bench: Bench) -> None:
    promoted(bench, "first")
    bench.candidate("worse")
    bench.reported(report(-4.0))
    refused(bench, r"not worse than the champion by more than 1 F1: -4\.00")


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (report(1.0, f1=math.nan), "better than untuned: F1 nan"),
        (report(1.0, HasAns_f1=0.0), "HasAns F1 of 20 or more: 0.00"),
        ("{", "cannot be read.*materialise `test_report`"),
        (report(1.0) | {"slices": [{"examples": "many", "f1": {}}]}, "cannot be read"),
        (report(1.0) | {"slices": [{"examples": 300}]}, "cannot be read"),
        (report(champion=None), r"not worse than the champion.*nan"),
    ],
)
def test_broken_candidate_is_refused(
    bench: Bench, figures: dict[str, Any] | str, words: str
) -> None:
    promoted(bench, "first")
    bench.candidate("broken")
    bench.reported(figures)
    refused(bench, words)


def test_candidate_without_a_report_of_its_own_is_refused(bench: Bench) -> None:
    bench.candidate("first")
    refused(bench, "none of this candidate: materialise `test_report`")
    path = bench.reported(report()).path
    bench.candidate("second")
    refused(bench, "none of this candidate")
    (path / "report.json").unlink()
    bench.candidate("first")
    refused(bench, "report.json cannot be read")


def test_report_beside_another_champion_is_refused(bench: Bench) -> None:
    promoted(bench, "first")
    promoted(bench, "second")
    bench.candidate("third")
    bench.reported(report(0.5))
    champions.rollback(bench.store, bench.registry)
    refused(bench, "does not compare with the champion of now")


def test_rollback_puts_the_earlier_champion_back_for_good(bench: Bench) -> None:
    first, second = promoted(bench, "first"), promoted(bench, "second")
    outcome = champions.rollback(bench.store, bench.registry)
    assert outcome.artifact == first.artifact == bench.store.latest("champion")
    assert bench.registry.champion() == outcome.version == first.version
    # what was rolled back does not come again by itself
    bench.reported(report(0.5))
    refused(bench, "version 2 of qa_assets_squad, rolled back")
    third = promoted(bench, "third")
    assert third.version.number == 3
    # and is no champion to roll back to
    assert champions.rollback(bench.store, bench.registry).version == first.version
    assert second.artifact.path.is_dir()


def test_rollback_with_nothing_before_it(bench: Bench) -> None:
    with pytest.raises(PromotionError, match="has no champion"):
        champions.rollback(bench.store, bench.registry)
    promoted(bench, "first")
    before = state(bench)
    with pytest.raises(PromotionError, match="no champion before version 1"):
        champions.rollback(bench.store, bench.registry)
    assert state(bench) == before


def lose(artifact: Artifact, what: str) -> None:
    """Remove the whole directory, or a file of it."""
    if what:
        (artifact.path / what).unlink()
    else:
        shutil.rmtree(artifact.path)


@pytest.mark.parametrize("what", ["", "model.safetensors", "manifest.json"])
def test_rollback_to_a_champion_whose_files_are_gone(bench: Bench, what: str) -> None:
    first = promoted(bench, "first")
    promoted(bench, "second")
    third = promoted(bench, "third")
    lose(bench.store.read(bench.registry.versions()[1].path), what)
    before = state(bench)
    with pytest.raises(PromotionError, match=r"version 2 .* are gone from .*bring them back, or"):
        champions.rollback(bench.store, bench.registry)
    assert state(bench) == before
    assert bench.store.latest("champion") == third.artifact
    # the remedy that the message names
    client = bench.registry._client
    client.delete_model_version("qa_assets_squad", "2")
    assert champions.rollback(bench.store, bench.registry).artifact == first.artifact


def test_champion_whose_files_are_gone_is_not_forgotten(bench: Bench) -> None:
    first = promoted(bench, "first")
    second = promoted(bench, "second")
    bench.candidate("third")
    lose(second.artifact, "")
    bench.reported(report())
    decision = review(bench)
    assert not decision.passed
    assert f"gone from {second.artifact.path}" in decision.reasons
    refused(bench, "files of version 2 of qa_assets_squad are gone")
    assert champions.rollback(bench.store, bench.registry).artifact == first.artifact


def test_failing_registry_leaves_the_champion(bench: Bench) -> None:
    from mlflow.exceptions import MlflowException

    first = promoted(bench, "first")
    bench.candidate("second")
    bench.reported(report(0.5))
    registry, before = bench.registry, state(bench)[2:]
    with sqlite3.connect(bench.home / "mlflow.db") as database:
        database.execute("drop table registered_model_aliases")
        database.execute("create view registered_model_aliases as select * from sqlite_master")
    with pytest.raises(MlflowException):
        promote(bench, registry)
    assert state_of_files(bench) == before
    assert bench.store.latest("champion") == first.artifact


def state_of_files(bench: Bench) -> tuple[Any, ...]:
    link = bench.store.link("champion")
    return link.readlink(), sorted(path.name for path in link.parent.glob("*"))


def test_moved_home_is_found(bench: Bench, tmp_path: Path) -> None:
    """Paths of the registry are those of the time; the directory's name is what counts."""
    promoted(bench, "first")
    promoted(bench, "second")
    bench.store.root.rename(tmp_path / "moved")
    bench.store.root = tmp_path / "moved"
    champions.rollback(bench.store, bench.registry)
    assert bench.store.latest("champion").path.parent == tmp_path / "moved" / "champion"


def test_alias_moved_by_hand_is_followed(bench: Bench) -> None:
    first = promoted(bench, "first")
    promoted(bench, "second")
    bench.registry.put_alias(first.version)
    bench.candidate("first")
    assert promote(bench).artifact == first.artifact == bench.store.latest("champion")
