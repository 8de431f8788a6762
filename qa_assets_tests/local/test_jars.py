"""Jars are resolved once, completely, and their absence is explained."""

import json
import shutil
import time
from pathlib import Path

import pytest

from qa_assets.local.jars import JarError, ensure_jars, jars_present


def test_second_call_is_quick_and_needs_nothing(
    jars_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    started = time.monotonic()
    paths = ensure_jars(jars_dir)
    assert time.monotonic() - started < 0.5
    assert list(paths.spark.glob("spark-nlp_2.12-*.jar"))
    assert list(paths.spark.glob("spark-sql-kafka-0-10_2.12-*.jar"))
    assert list(paths.kafka.glob("kafka_2.13-*.jar"))


def test_nothing_is_there_twice_that_spark_ships(jars_dir: Path) -> None:
    import pyspark

    shipped = {jar.name for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    names = {jar.name for jar in (jars_dir / "spark").glob("*.jar")}
    assert names
    assert not names & shipped
    assert not [name for name in names if name.startswith(("tensorflow", "scala-library"))]


def test_a_set_that_lacks_a_jar_or_has_another_version_is_not_there(
    jars_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(jars_dir / "kafka", tmp_path / "kafka")
    assert jars_present(tmp_path, ("kafka",))
    assert not jars_present(tmp_path)
    jar = next((tmp_path / "kafka").glob("kafka_2.13-*.jar"))
    jar.rename(tmp_path / jar.name)
    assert not jars_present(tmp_path, ("kafka",))
    (tmp_path / jar.name).rename(jar)
    manifest = json.loads((tmp_path / "kafka" / "manifest.json").read_text())
    manifest["wanted"]["jars"][0] = "org.apache.kafka:kafka_2.13:4.0.0"
    (tmp_path / "kafka" / "manifest.json").write_text(json.dumps(manifest))
    assert not jars_present(tmp_path, ("kafka",))


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
    assert not list(tmp_path.glob(".kafka-*"))
