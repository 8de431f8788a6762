"""Files and directories: whole or not there, and known again by their hash."""

from pathlib import Path

import pytest

from qa_assets.core.files import atomic_directory, hash_files


def test_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    before = hash_files(tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    assert hash_files(tmp_path) != before


def test_a_new_directory_is_whole_or_not_there(tmp_path: Path) -> None:
    out = tmp_path / "below" / "out"
    with pytest.raises(KeyError), atomic_directory(out) as draft:
        (draft / "half").touch()
        raise KeyError
    assert not list(out.parent.iterdir())
    out.mkdir()  # empty: as good as none
    with atomic_directory(out) as draft:
        (draft / "whole").touch()
        assert not list(out.iterdir())
    assert [item.name for item in out.parent.iterdir()] == ["out"]
    assert [item.name for item in out.iterdir()] == ["whole"]
    with pytest.raises(FileExistsError, match="exists already"), atomic_directory(out):
        pass
