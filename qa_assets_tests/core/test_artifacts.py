"""The artefact store: whole or not at all, and the newest is found."""

import os
from pathlib import Path

import pytest

from qa_assets.core.artifacts import (
    Artifact,
    ArtifactMissingError,
    ArtifactStore,
    DiskFullError,
)


def test_written_artifact_is_latest_with_inputs(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.write("raw") as draft:
        (draft.path / "a.txt").write_text("1")
    raw = draft.done()
    with store.write("split", raw) as draft:
        (draft.path / "b.txt").write_text("2")
        draft.info["rows"] = 2
    found = store.latest("split")
    assert found.info == {"rows": 2}
    assert found.inputs == {"raw": raw.data_version}
    assert (found.path / "b.txt").read_text() == "2"


def test_same_files_have_the_same_data_version(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    versions = []
    for text in ("same", "same", "other"):
        with store.write("a") as draft:
            (draft.path / "f").write_text(text)
        versions.append(draft.done().data_version)
    assert versions[0] == versions[1] != versions[2]


def test_failed_write_leaves_the_old_version_and_nothing_else(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.write("a") as draft:
        (draft.path / "f").write_text("old")
    old = draft.done()
    with pytest.raises(RuntimeError, match="broken"), store.write("a") as draft:
        (draft.path / "f").write_text("half")
        raise RuntimeError("broken")
    assert store.latest("a").path == old.path
    assert sorted(item.name for item in (tmp_path / "a").iterdir()) == sorted(
        ["latest", old.path.name]
    )


def test_version_is_latest_when_told_to_be(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.write("a") as draft:
        (draft.path / "f").write_text("old")
    old = draft.done()
    with store.write("a", make_latest=False) as draft:
        (draft.path / "f").write_text("new")
    assert store.latest("a") == old
    store.make_latest(draft.done())
    assert store.latest("a") == draft.done()
    store.make_latest(old)
    assert store.latest("a") == old == store.read(old.path)


def test_missing_artifact_names_the_asset_to_materialise(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with pytest.raises(ArtifactMissingError, match="materialise the asset `best_model` first"):
        store.latest("best_model")
    assert store.find("best_model") is None


def test_too_little_room_is_refused_before_work(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFullError, match="set QA_ASSETS_HOME"),
        ArtifactStore(tmp_path).write("a", min_free_bytes=10**18),
    ):
        raise AssertionError("the block must not run")


def write(store: ArtifactStore, asset: str, text: str, *inputs: Artifact, **info: str) -> Artifact:
    with store.write(asset, *inputs) as draft:
        (draft.path / "f").write_text(text)
        draft.info |= info
    return draft.done()


def test_prune_keeps_the_newest_and_what_is_named(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    raws = [write(store, "raw", text) for text in "abcde"]
    # the first is named by its data version, the third by its path, the second by what goes itself
    write(store, "split", "1", raws[1])
    for text in "23":
        write(store, "split", text, raws[0], note=str(raws[2].path / "f"))
    first, *others = store.versions("split")
    pruned = store.prune(2)
    assert set(pruned.removed) == {raws[1].path, first}
    assert pruned.kept == {
        raws[0].path: f"named by split/{others[1].name}",
        raws[2].path: f"named by split/{others[0].name}",
        raws[3].path: "one of the newest 2",
        raws[4].path: "the latest",
        others[0]: "one of the newest 2",
        others[1]: "the latest",
    }
    assert store.versions("raw") == [raws[0].path, *(raw.path for raw in raws[2:])]
    assert len(store.versions("split")) == 2
    assert store.latest("raw").path == raws[-1].path
    assert not store.prune(2).removed


def test_prune_of_equal_versions_keeps_the_newest_of_them(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    same = [write(store, "raw", "same") for _ in range(3)]
    write(store, "split", "1", same[0])
    newer = [write(store, "raw", text) for text in "ab"]
    assert store.prune(2).removed == [same[0].path, same[1].path]
    assert store.versions("raw") == [same[2].path, *(raw.path for raw in newer)]


def test_prune_removes_abandoned_drafts_only(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    write(store, "raw", "a")
    for name in (".draft-old", ".draft-trained", ".draft-new"):
        (tmp_path / "raw" / name / "trial").mkdir(parents=True)
    (tmp_path / "raw" / ".draft-trained" / "trial" / "checkpoint").touch()
    for name in (".draft-old/trial", ".draft-old", ".draft-trained/trial", ".draft-trained"):
        os.utime(tmp_path / "raw" / name, (0, 0))
    store.prune(2)
    left = sorted(path.name for path in (tmp_path / "raw").glob(".*"))
    assert left == [".draft-new", ".draft-trained"]
