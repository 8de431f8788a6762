"""How Spark sessions are made and, with their JVM, ended. Nothing else configures Spark."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from qa_assets.local.class_archive import archive_options, keep_archive
from qa_assets.local.jars import ensure_jars
from qa_assets.local.java import java_home

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

logger = logging.getLogger(__name__)

_configured: dict[str, str] = {}
"""The session's configuration, which is needed after its JVM has ended."""
_LOG_CONFIG = Path(__file__).with_name("spark-log4j2.properties")
_STOP_GRACE_S = 45.0  # the first JVM writes its archive of classes, in 10 s or so


class SparkConfig(BaseModel, extra="forbid", frozen=True):
    """Where Spark runs."""

    master: str = "local[2]"
    driver_memory: str = "3g"

    @property
    def is_local(self) -> bool:
        """Whether executors are threads of the driver."""
        return self.master.startswith("local")


class SparkError(RuntimeError):
    """A session could not be made; the message says what to change."""


def create_session(
    app_name: str, config: SparkConfig, root: Path, *, brief: bool = False
) -> "SparkSession":
    """Start Spark with the Kafka connector and Spark NLP.

    A process has one session at a time: `stop_session` ends it. For the arguments, see
    `spark_configuration`.

    Raises:
        SparkError: there is a session already, or Spark does not start.
        JarError: the jars are not there and cannot be fetched.
        JavaError: there is no Java 17.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    if SparkContext._active_spark_context is not None:  # noqa: SLF001  of any thread
        raise SparkError(
            "a Spark session is there already, and would keep its own settings: stop_session first"
        )
    started = time.monotonic()
    configuration = spark_configuration(app_name, config, root, brief=brief)
    _configured.clear()
    _configured.update(configuration)
    # it logs each connection that it closes, and each exception that it raises
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    os.environ["JAVA_HOME"] = str(java_home())  # what pyspark starts its JVM with
    if config.is_local:
        # else its workers are the `python3` of PATH, which need not be that of this environment
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        spark = SparkSession.builder.config(map=configuration).getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        _end_jvm()
        raise SparkError(
            f"Spark does not start on {config.master} with {config.driver_memory} of memory"
            " (QA_ASSETS_SPARK_MASTER, QA_ASSETS_SPARK_DRIVER_MEMORY): "
            + str(error).strip().partition("\n")[0]
        ) from error
    if config.is_local:
        # 200 by default, of which all but a few would be empty
        spark.conf.set("spark.sql.shuffle.partitions", spark.sparkContext.defaultParallelism)
    logger.info(
        "Spark %s on %s in %.1f s", spark.version, config.master, time.monotonic() - started
    )
    return spark


def is_local(spark: "SparkSession") -> bool:
    """Whether the executors of a session are threads of its driver."""
    return bool(spark.sparkContext.master.startswith("local"))


def driver_cores(spark: "SparkSession") -> int:
    """The cores that the driver may use: those of a local session, or all of its machine."""
    if is_local(spark):
        return int(spark.sparkContext.defaultParallelism)
    return len(os.sched_getaffinity(0))


def stop_session(spark: "SparkSession") -> None:
    """Stop the session and its JVM, which would otherwise live as long as this process."""
    from py4j.protocol import Py4JError

    try:
        with suppress(Py4JError, OSError):  # the JVM may have been killed
            spark.stop()
    finally:
        ended = _end_jvm()
        if temporary := _configured.get("spark.local.dir"):
            shutil.rmtree(temporary, ignore_errors=True)
        if class_path := _configured.get("spark.driver.extraClassPath"):
            keep_archive(Path(class_path).parent, ended)


def spark_configuration(
    app_name: str, config: SparkConfig, root: Path, *, brief: bool = False
) -> dict[str, str]:
    """All of Spark's configuration.

    `root` has the jars, as `jars`, and Spark's own files, as `spark`. The JVM of a local session
    that is `brief`, of a minute or so, compiles without optimising, which takes about as long as
    all else on two cores.

    Raises:
        JarError: the jars are not there and cannot be fetched.
        JavaError: there is no Java 17.
    """
    ensure_jars(root / "jars", ("spark",))
    jars = (root / "jars" / "spark").resolve()
    place = root / "spark"
    place.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.mkdtemp(prefix="session-", dir=place)
    # Spark NLP leaves copies of the model there, 750 MB of Flan-T5-small
    java_options = [
        "-Duser.timezone=UTC",
        f"-Djava.io.tmpdir={temporary}",
        f'"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}"',
    ]
    if config.is_local:
        java_options += archive_options(jars)
        java_options += ["-XX:TieredStopAtLevel=1"] if brief else []
    configuration = {
        "spark.app.name": app_name,
        "spark.master": config.master,
        "spark.driver.memory": config.driver_memory,
        "spark.driver.extraJavaOptions": " ".join(java_options),
        "spark.driver.maxResultSize": "0",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        # a query's plan names its options, a login to Kafka among them
        "spark.sql.redaction.string.regex": r'(?i)(username|password)="([^"\\]|\\.)*"',
        "spark.sql.warehouse.dir": f"file://{place / 'warehouse'}",
        # what Spark NLP asks for
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryoserializer.buffer.max": "2000m",
        "spark.jsl.settings.onnx.intraOpNumThreads": "1",  # Spark's tasks are the parallelism
    }
    if config.is_local:
        configuration |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": temporary,
            # the default one starts a shell command for each file
            "spark.sql.streaming.checkpointFileManagerClass": "org.apache.spark.sql.execution"
            ".streaming.FileSystemBasedCheckpointFileManager",
            # not spark.jars, which copies them all for each session
            "spark.driver.extraClassPath": str(jars / "*"),
        }
    else:
        configuration["spark.jars"] = ",".join(map(str, sorted(jars.glob("*.jar"))))
    return configuration


def _end_jvm() -> bool:
    """End and forget the JVM that pyspark started; returns whether it ended by itself."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway  # noqa: SLF001  pyspark has no public way to end its JVM
    if gateway is None:
        return True
    SparkContext._gateway = SparkContext._jvm = None  # noqa: SLF001
    with suppress(Exception):  # the JVM may be gone, and py4j raises all sorts of things then
        gateway.shutdown()
    jvm: subprocess.Popen[bytes] = gateway.proc
    if jvm.stdin is not None:
        with suppress(OSError):
            jvm.stdin.close()  # makes it exit
    try:
        jvm.wait(_STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        logger.warning(
            "Spark's JVM (process %d) did not end in %.0f s: killed", jvm.pid, _STOP_GRACE_S
        )
        jvm.kill()
        jvm.wait()
        return False
    return True
