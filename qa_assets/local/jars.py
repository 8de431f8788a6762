"""Resolves the jars of Spark NLP, Spark's Kafka connector and the broker, once per machine.

The Ivy inside PySpark does it, with a cache of our own: a shared Maven cache that holds a .pom
without its .jar makes Ivy fail.
"""

import json
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from qa_assets.core import files
from qa_assets.local import process
from qa_assets.local.java import java_executable, system_java

logger = logging.getLogger(__name__)

JarSet = Literal["spark", "kafka"]

COORDINATES: dict[JarSet, tuple[str, ...]] = {
    "spark": (
        "com.johnsnowlabs.nlp:spark-nlp_2.12:5.5.3",
        "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7",
        "org.tensorflow:tensorflow-core-api:0.4.2",  # types that classifiers name, never run
    ),
    "kafka": (
        "org.apache.kafka:kafka_2.13:4.1.0",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",  # else the broker logs nothing
    ),
}
EXCLUDED: dict[JarSet, tuple[str, ...]] = {
    "spark": (
        # engines other than ONNX Runtime
        "tensorflow-cpu_2.12",
        "jsl-llamacpp-cpu_2.12",
        "jsl-openvino-cpu_2.12",
        # and 52 jars with it, for models at gs:// addresses; ours are local
        "google-cloud-storage",
    ),
    "kafka": (),
}

_MANIFEST = "manifest.json"
_STALLED_S = 180.0
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


class JarError(RuntimeError):
    """Jars could not be fetched; the message names them and the remedy."""


@dataclass(frozen=True)
class JarPaths:
    """Directories that hold a complete set of jars each."""

    spark: Path
    kafka: Path


def ensure_jars(jars_dir: Path, sets: Sequence[JarSet] = ("spark", "kafka")) -> JarPaths:
    """Make sure that sets of jars lie in `jars_dir/<set>`; a second call takes milliseconds.

    A set is resolved beside its place and renamed into it, once at a time per directory.

    Args:
        jars_dir: the directory for all of them.
        sets: which to make sure of.

    Raises:
        JarError: something could not be fetched.
        JavaError: there is no Java to run Ivy on.
    """
    if not jars_present(jars_dir, sets):
        with files.locked(jars_dir / ".lock"):
            missing = [name for name in sets if not jars_present(jars_dir, (name,))]
            with ThreadPoolExecutor(max_workers=len(sets)) as pool:  # all of it is waiting
                for _ in pool.map(lambda name: _resolve(jars_dir, name), missing):
                    pass
    return JarPaths(spark=jars_dir / "spark", kafka=jars_dir / "kafka")


def jars_present(jars_dir: Path, sets: Sequence[JarSet] = ("spark", "kafka")) -> bool:
    """Whether the sets lie there, complete and of the versions wanted. Takes milliseconds."""
    return all(_complete(jars_dir / name, name) for name in sets)


def _complete(place: Path, name: JarSet) -> bool:
    try:
        manifest = json.loads((place / _MANIFEST).read_text())
        return bool(manifest["wanted"] == _wanted(name)) and all(
            (place / jar).stat().st_size == size for jar, size in manifest["jars"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _wanted(name: JarSet) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "jars": list(COORDINATES[name]),
        "without": list(EXCLUDED[name]),
    }
    if name == "spark":
        wanted["pyspark"] = version("pyspark")  # decides what is left out
    return wanted


def _resolve(jars_dir: Path, name: JarSet) -> None:
    """Resolve one set beside its place, then rename it there."""
    java = system_java() or java_executable()  # the system's knows private authorities
    started = time.monotonic()
    logger.info("resolving the %s jars: %s", name, ", ".join(COORDINATES[name]))
    cache = jars_dir / "ivy" / name  # left there where it fails, so that a retry goes on from it
    with tempfile.TemporaryDirectory(dir=jars_dir, prefix=f".{name}-") as scratch:
        work, log = Path(scratch), Path(scratch) / "ivy.log"
        (work / "settings.xml").write_text(_IVY_SETTINGS)
        (work / "ivy.xml").write_text(_ivy_module(name))
        # fmt: off
        command: list[str | Path] = [
            java, "-Xmx256m", f"-Divy.default.ivy.user.dir={cache}", "-jar", _ivy_jar(),
            "-settings", work / "settings.xml", "-ivy", work / "ivy.xml", "-cache", cache,
            "-types", "jar", "bundle", "-confs", "default",
            "-retrieve", f"{work}/jars/[artifact]-[revision](-[classifier]).[ext]",
        ]
        # fmt: on
        if _run(command, log, cache, name) != 0:
            raise JarError(_explain(name, log.read_text(errors="replace")))
        jars = {jar.name: jar.stat().st_size for jar in sorted((work / "jars").glob("*.jar"))}
        manifest = {"wanted": _wanted(name), "jars": jars}
        (work / "jars" / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        if (jars_dir / name).exists():
            (jars_dir / name).rename(work / "replaced")
        (work / "jars").rename(jars_dir / name)
    shutil.rmtree(cache, ignore_errors=True)
    with suppress(OSError):  # the other set may be at it
        cache.parent.rmdir()
    seconds, megabytes = time.monotonic() - started, sum(jars.values()) / 1e6
    logger.info("%d %s jars (%.0f MB) in %.0f s", len(jars), name, megabytes, seconds)


def _run(command: Sequence[str | Path], log: Path, cache: Path, name: JarSet) -> int:
    """Run Ivy, saying every few seconds how far it is; its exit status."""
    ivy = process.start(command, log)
    fetched, changed = 0, time.monotonic()
    try:
        while True:
            try:
                return ivy.wait(timeout=5)
            except subprocess.TimeoutExpired:
                before, fetched = fetched, _size(cache)
            if fetched != before:
                changed = time.monotonic()
            elif time.monotonic() - changed > _STALLED_S:
                raise JarError(
                    f"the {name} jars: nothing was fetched for {_STALLED_S:.0f} s: check the "
                    "network and the proxy (JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=...), try again"
                )
            logger.info("resolving the %s jars: %.1f MB fetched", name, fetched / 1e6)
    finally:
        process.stop(ivy, grace_s=5)


def _explain(name: JarSet, log: str) -> str:
    artefacts = re.findall(r"(?:::|\[FAILED\s*\]) (\S+#\S+;[^\s:!]+)", log)
    artefacts = [artefact.replace("#", ":").replace(";", ":") for artefact in artefacts]
    named = ", ".join(list(dict.fromkeys(artefacts))[:3]) or "nothing was resolved"
    trouble = re.findall(r"(Server access error.*|Host .* not found.*|.*Exception: .*)", log)
    why = f" ({trouble[0].strip()})" if trouble else ""
    return (
        f"the {name} jars cannot be fetched: {named}{why}. Check the network, the proxy "
        "(JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=... -Dhttps.proxyPort=...) and, behind a private "
        "certificate authority, that JAVA_HOME is a Java that trusts it; then try again"
    )


def _ivy_module(name: JarSet) -> str:
    """The Ivy file of a set.

    For Spark, what PySpark ships is left out, in whatever version: Spark's own class loading would
    prefer its own copy, and so must a class path on which the set comes first.
    """
    excluded = set(EXCLUDED[name])
    if name == "spark":
        shipped = (re.match(r"(.+?)-\d", jar.stem) for jar in _pyspark_jars().glob("*.jar"))
        excluded |= {match[1] for match in shipped if match}
    dependencies = []
    for coordinate in COORDINATES[name]:
        org, module, rev = map(quoteattr, coordinate.split(":"))
        dependencies.append(f'<dependency org={org} name={module} rev={rev} conf="default"/>')
    return "\n".join(
        [
            f'<ivy-module version="2.0"><info organisation="qa_assets" module="{name}"/>',
            '<configurations><conf name="default"/></configurations><dependencies>',
            *dependencies,
            *(f"<exclude module={quoteattr(module)}/>" for module in sorted(excluded)),
            "</dependencies></ivy-module>",
        ]
    )


def _pyspark_jars() -> Path:
    spec = find_spec("pyspark")  # not imported: it takes long
    if spec is None or spec.origin is None:
        raise JarError("PySpark is not installed: pip install pyspark")
    return Path(spec.origin).parent / "jars"


def _ivy_jar() -> Path:
    return next(_pyspark_jars().glob("ivy-*.jar"))


def _size(directory: Path) -> int:
    """Bytes of all files below a directory that is being written to."""
    sizes = 0
    for path in directory.rglob("*"):
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:  # renamed since
            continue
    return sizes
