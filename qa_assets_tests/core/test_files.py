"""Files and directories: whole or not there, and known again by their hash."""

from pathlib import Path

from qa_assets.core.files import hash_files


def test_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    before = hash_files(tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    assert hash_files(tmp_path) != before
