"""Fetches jars and all that they depend on with the Ivy that PySpark ships; for `jars` only."""

import logging
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path

from qa_assets.local import process
from qa_assets.local.java import java_executable, system_java

logger = logging.getLogger(__name__)

_STALLED_S = 180.0
_PROXY = "JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=... -Dhttps.proxyPort=..."
_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""
_MODULE = """<ivy-module version="2.0">
  <info organisation="qa_assets" module="{name}"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>{dependencies}</dependencies>
</ivy-module>
"""


class JarError(RuntimeError):
    """Jars that cannot be fetched, or are not the locked ones; names them and the remedy."""


def retrieve(
    name: str, coordinates: Sequence[str], excluded: Iterable[str], out: Path, cache: Path
) -> dict[str, str]:
    """Fetch jars with their dependencies into `out`; returns coordinates by file name.

    Coordinates are `organisation:module:version`. `out` is empty, and gets Ivy's own files too.
    `cache` is Ivy's, for a retry, and not the shared Maven cache: Ivy fails where that holds a .pom
    without its .jar.

    Raises:
        JarError: something cannot be fetched.
        JavaError: there is no Java to run Ivy on.
    """
    java = system_java() or java_executable()  # the system's trusts private authorities
    settings, ivy_file, log = out / "settings.xml", out / "ivy.xml", out / "ivy.log"
    settings.write_text(_SETTINGS)
    dependencies = [
        '<dependency org="{}" name="{}" rev="{}" conf="default"/>'.format(*coordinate.split(":"))
        for coordinate in coordinates
    ]
    dependencies += [f'<exclude module="{module}"/>' for module in sorted(excluded)]
    ivy_file.write_text(_MODULE.format(name=name, dependencies="".join(dependencies)))
    # fmt: off
    command: list[str | Path] = [
        java, "-Xmx256m", f"-Divy.default.ivy.user.dir={cache}",
        "-jar", next(pyspark_jars().glob("ivy-*.jar")),
        "-settings", settings, "-ivy", ivy_file, "-cache", cache,
        "-types", "jar", "bundle", "-confs", "default",
        "-retrieve", f"{out}/[organisation]:[artifact]:[revision](:[classifier]).[ext]",
    ]
    # fmt: on
    if _run(command, log, cache, name) != 0:
        raise JarError(_explain(name, log.read_text(errors="replace")))
    jars = {}
    for jar in sorted(out.glob("*:*.jar")):
        file = "-".join(jar.name.split(":")[1:])
        jar.rename(out / file)
        jars[file] = jar.stem
    return jars


def pyspark_jars() -> Path:
    """The directory of the jars that PySpark ships."""
    package = distribution("pyspark")  # not imported: it takes long
    return Path(str(package.locate_file("pyspark/jars")))


def _run(command: Sequence[str | Path], log: Path, cache: Path, name: str) -> int:
    """Run Ivy and log its progress every few seconds; returns its exit code."""
    ivy = process.start(command, log)
    fetched, changed = 0, time.monotonic()
    try:
        while time.monotonic() - changed < _STALLED_S:
            with suppress(subprocess.TimeoutExpired):
                return ivy.wait(timeout=5)
            if (size := _size(cache)) != fetched:
                fetched, changed = size, time.monotonic()
            logger.info("resolving the %s jars: %.1f MB fetched", name, fetched / 1e6)
    finally:
        process.stop(ivy, grace_s=5)
    raise JarError(
        f"the {name} jars: nothing was fetched for {_STALLED_S:.0f} s: check the network and the "
        f"proxy ({_PROXY}), try again"
    )


def _size(directory: Path) -> int:
    """Bytes of all files below a directory that is being written to."""
    sizes = 0
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # renamed since
            sizes += path.stat().st_size
    return sizes


def _explain(name: str, log: str) -> str:
    failed = re.findall(r"(?:::|\[FAILED\s*\]) (\S+#\S+;[^\s:!]+)", log)
    artefacts = ", ".join(list(dict.fromkeys(failed))[:3]) or "nothing was resolved"
    artefacts = artefacts.translate({ord("#"): ":", ord(";"): ":"})
    errors = re.findall(r"(Server access error.*|Host .* not found.*|.*Exception: .*)", log)
    why = f" ({errors[0].strip()})" if errors else ""
    return (
        f"the {name} jars cannot be fetched: {artefacts}{why}. Check the network, the proxy "
        f"({_PROXY}) and, behind a private certificate authority, that JAVA_HOME is a Java that "
        "trusts it; then try again"
    )
