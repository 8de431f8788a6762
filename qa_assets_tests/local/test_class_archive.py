"""Spark's archive of classes is made by the first JVM, and only a whole one is kept."""

import os
from pathlib import Path

import pytest

from qa_assets.local.class_archive import archive_options, keep_archive
from qa_assets.local.java import java_home


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    if not (java_home() / "lib" / "server" / "classes.jsa").exists():
        pytest.skip("this Java has no archive to build on")
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "manifest.json").write_text("{}")
    return tmp_path / "spark"


def _written(jars: Path) -> Path:
    option = archive_options(jars)[-1].strip('"')
    assert option.startswith("-XX:ArchiveClassesAtExit=")
    place = Path(option.partition("=")[2])
    assert str(os.getpid()) in place.name
    place.write_bytes(b"classes")
    return place


def test_the_first_writes_what_the_next_uses_until_the_jars_change(jars: Path) -> None:
    first = _written(jars)
    keep_archive(jars, written=True)
    assert not first.exists()
    option = archive_options(jars)[-1].strip('"')
    assert option.startswith("-XX:SharedArchiveFile=")
    assert Path(option.partition("=")[2]).read_bytes() == b"classes"
    (jars / "manifest.json").write_text('{"other": 1}')
    _written(jars)
    keep_archive(jars, written=True)
    assert len(list(jars.parent.glob("*.jsa*"))) == 1, "the older one is gone"


def test_one_that_was_cut_off_is_not_kept(jars: Path) -> None:
    _written(jars)
    keep_archive(jars, written=False)
    assert not list(jars.parent.glob("*.jsa*"))


def test_what_killed_processes_left_is_removed_in_time(jars: Path) -> None:
    left = jars.parent / "spark-0.jsa.1.unfinished"
    left.write_bytes(b"")
    archive_options(jars)
    assert left.exists(), "it may be being written"
    os.utime(left, (0, 0))
    archive_options(jars)
    assert not left.exists()
