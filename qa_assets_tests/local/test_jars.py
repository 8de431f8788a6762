"""Jars are resolved once and completely, are those of the lock, and their absence is explained."""

import shutil
import time
from pathlib import Path

import pytest

from qa_assets.local import jars
from qa_assets.local.ivy import JarError
from qa_assets.local.jars import ensure_jars, jars_present, locked_set, verify


@pytest.fixture
def kafka(jars_dir: Path, tmp_path: Path) -> Path:
    """A copy of the broker's jars."""
    return Path(shutil.copytree(jars_dir / "kafka", tmp_path / "kafka"))


def test_second_call_is_quick_and_needs_nothing(
    jars_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    started = time.monotonic()
    ensure_jars(jars_dir)
    assert time.monotonic() - started < 0.5
    assert list((jars_dir / "spark").glob("spark-nlp_2.12-*.jar"))
    assert list((jars_dir / "spark").glob("spark-sql-kafka-0-10_2.12-*.jar"))
    assert list((jars_dir / "kafka").glob("kafka_2.13-*.jar"))


def test_nothing_is_there_twice_that_spark_ships(jars_dir: Path) -> None:
    import pyspark

    shipped = {jar.name for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    names = {jar.name for jar in (jars_dir / "spark").glob("*.jar")}
    assert names
    assert not names & shipped
    tensorflow = {name for name in names if name.startswith("tensorflow")}
    assert tensorflow == {"tensorflow-core-api-0.4.2.jar"}, "types alone, no engine"
    assert not [name for name in names if name.startswith("scala-library")]


def test_a_set_that_lacks_a_jar_or_was_checked_by_another_lock_is_not_there(kafka: Path) -> None:
    assert jars_present(kafka.parent, ("kafka",))
    assert not jars_present(kafka.parent)
    jar = next(kafka.glob("kafka_2.13-*.jar"))
    jar.rename(kafka.parent / jar.name)
    assert not jars_present(kafka.parent, ("kafka",))
    (kafka.parent / jar.name).rename(jar)
    manifest = kafka / "manifest.json"
    manifest.write_text(manifest.read_text().replace("kafka_2.13:4.1.0", "kafka_2.13:4.0.0"))
    assert not jars_present(kafka.parent, ("kafka",))


@pytest.mark.parametrize("name", jars.ALL)
def test_the_lock_names_all_that_is_wanted_and_no_registry(
    name: jars.JarSet, jars_dir: Path
) -> None:
    entry = locked_set(name)
    locked = {facts["coordinates"] for facts in entry["jars"].values()}
    assert set(jars.COORDINATES[name]) <= locked
    assert "://" not in jars.LOCK.read_text()
    assert verify(name, jars_dir / name) == entry


def test_a_jar_that_is_not_locked_is_missing_or_changed_is_named(kafka: Path) -> None:
    changed = next(kafka.glob("kafka-clients-*.jar"))
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    with pytest.raises(JarError, match=rf"{changed.name} has SHA-256 .*, not .*mirror.*make lock"):
        verify("kafka", kafka)
    changed.rename(kafka / "other-1.0.jar")
    with pytest.raises(JarError) as refused:
        verify("kafka", kafka)
    assert "other-1.0.jar is not locked" in str(refused.value)
    assert f"{changed.name} (org.apache.kafka:kafka-clients:4.1.0) is missing" in str(refused.value)


def test_jars_that_were_fetched_but_are_not_locked_are_not_installed(
    jars_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(_: jars.JarSet, out: Path, cache: Path) -> dict[str, str]:
        cache.mkdir(parents=True)
        for jar in list((jars_dir / "kafka").glob("*.jar"))[1:]:
            shutil.copy(jar, out)
        return {}

    monkeypatch.setattr(jars, "fetch", fetch)
    with pytest.raises(JarError, match="is missing"):
        ensure_jars(tmp_path, ("kafka",))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"], "the cache may hold a bad jar"


def test_changed_coordinates_ask_for_a_new_lock_before_anything_is_fetched(
    jars_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(jars_dir / "kafka", tmp_path / "kafka")
    monkeypatch.setitem(jars.COORDINATES, "kafka", ["org.apache.kafka:kafka_2.13:4.0.0"])
    with pytest.raises(
        JarError, match=r"jars\.lock\.json is out of date for the kafka jars.*make lock"
    ):
        ensure_jars(tmp_path, ("kafka",))
    assert not (tmp_path / "ivy-kafka").exists()


def test_what_cannot_be_fetched_is_named_and_nothing_half_made_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # a proxy that nobody listens on: the network is away
    monkeypatch.setenv(
        "JAVA_TOOL_OPTIONS",
        "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 "
        "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9",
    )
    with pytest.raises(JarError, match=r"org\.apache\.kafka:kafka_2\.13:4\.1\.0.*proxy"):
        ensure_jars(tmp_path, ("kafka",))
    assert not (tmp_path / "kafka").exists()
    assert not list(tmp_path.glob(".kafka*"))
