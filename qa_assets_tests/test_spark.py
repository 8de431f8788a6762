"""A session is what was asked for, and its JVM ends with it.

Sessions are made in processes of their own, since the test process has its one already.
"""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from qa_assets.spark import SparkConfig, SparkError, create_session, spark_configuration

_TWICE = """
import json, sys
from pathlib import Path
from qa_assets.spark import SparkConfig, create_session, stop_session
from pyspark import SparkContext
said = []
for cores in (1, 2):
    config = SparkConfig(master=f"local[{cores}]")
    spark = create_session("twice", config, Path(sys.argv[1]))
    total = spark.range(10).selectExpr("sum(id)").first()[0]
    said.append({
        "pid": SparkContext._gateway.proc.pid,
        "master": spark.sparkContext.master,
        "parallelism": int(spark.conf.get("spark.sql.shuffle.partitions")),
        "total": total,
        "zone": spark.sql("select current_timezone()").first()[0],
        "nlp": spark._jvm.com.johnsnowlabs.util.Version is not None,
    })
    stop_session(spark)
print(json.dumps(said))
"""


def test_sessions_follow_each_other_and_leave_no_jvm(
    jars_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_TOOL_OPTIONS", raising=False)  # the JVM says on stderr that it is set
    (tmp_path / "jars").symlink_to(jars_dir)
    told = subprocess.run(
        [sys.executable, "-c", _TWICE, tmp_path],
        capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path,
    )  # fmt: skip
    first, second = json.loads(told.stdout)
    assert (first["master"], second["master"]) == ("local[1]", "local[2]")
    assert (first["parallelism"], second["parallelism"]) == (1, 2)
    assert first["total"] == second["total"] == 45
    assert first["zone"] == "UTC"
    assert first["pid"] != second["pid"]
    assert not psutil.pid_exists(first["pid"])
    assert not psutil.pid_exists(second["pid"])
    assert not told.stderr, "a good session is quiet"
    assert not (tmp_path / "spark-warehouse").exists()


def test_a_session_that_is_there_is_not_taken_for_the_one_asked_for(
    spark: object, tmp_path: Path
) -> None:
    with pytest.raises(SparkError, match="stop_session"):
        create_session("another", SparkConfig(), tmp_path)


def test_a_cluster_gets_the_jars_sent(jars_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "jars").symlink_to(jars_dir)
    config = SparkConfig(master="spark://head:7077")
    configuration = spark_configuration("cluster", config, tmp_path)
    assert "spark-nlp_2.12" in configuration["spark.jars"]
    assert "spark.driver.host" not in configuration


def test_only_a_brief_session_of_this_machine_does_without_optimising(
    jars_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "jars").symlink_to(jars_dir)
    quick = "-XX:TieredStopAtLevel=1"
    for master, brief in (("local[2]", True), ("local[2]", False), ("spark://head:7077", True)):
        config = SparkConfig(master=master)
        configuration = spark_configuration("any", config, tmp_path, brief=brief)
        options = configuration["spark.driver.extraJavaOptions"]
        assert (quick in options) == (brief and master.startswith("local"))
