"""The jars of Spark NLP, Spark's Kafka connector and the broker, and their lock.

`jars.lock.json` has the coordinates, size and SHA-256 of every jar; whatever `ivy` fetches is
verified by it. `make lock` resolves the jars anew and writes it: `python -m qa_assets.local.jars`.
"""

import json
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from qa_assets.core.files import hash_files, replacing, write_json
from qa_assets.local import ivy
from qa_assets.local.ivy import JarError

logger = logging.getLogger(__name__)

JarSet = Literal["spark", "kafka"]
ALL: tuple[JarSet, ...] = ("spark", "kafka")

COORDINATES: dict[JarSet, list[str]] = {
    "spark": [
        "com.johnsnowlabs.nlp:spark-nlp_2.12:5.5.3",
        "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7",
        "org.tensorflow:tensorflow-core-api:0.4.2",  # types that classifiers name, never run
    ],
    "kafka": [
        "org.apache.kafka:kafka_2.13:4.1.0",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",  # else the broker logs nothing
    ],
}
EXCLUDED: dict[JarSet, list[str]] = {
    "spark": [
        # engines other than ONNX Runtime
        "tensorflow-cpu_2.12",
        "jsl-llamacpp-cpu_2.12",
        "jsl-openvino-cpu_2.12",
        # and 52 jars with it, for models at gs:// addresses; ours are local
        "google-cloud-storage",
    ],
    "kafka": [],
}
LOCK = Path(__file__).with_name("jars.lock.json")

_MANIFEST = "manifest.json"
_RELOCK = "after a change of coordinates or of PySpark, run `make lock`"


def ensure_jars(jars_dir: Path, sets: Sequence[JarSet] = ALL) -> None:
    """Install sets of jars in `jars_dir/<set>`, unless they are there.

    Raises:
        JarError: a jar cannot be fetched, or is not the locked one.
        JavaError: there is no Java to run Ivy on.
    """
    if jars_present(jars_dir, sets):
        return
    with FileLock(jars_dir / ".lock"), ThreadPoolExecutor() as pool:  # they wait for the network
        missing = [name for name in sets if not jars_present(jars_dir, (name,))]
        list(pool.map(lambda name: _install(jars_dir, name), missing))


def jars_present(jars_dir: Path, sets: Sequence[JarSet] = ALL) -> bool:
    """Whether the locked sets are installed. Takes milliseconds: compares sizes, not hashes."""
    try:
        for name in sets:
            entry, place = locked_set(name), jars_dir / name
            locked = {jar: facts["bytes"] for jar, facts in entry["jars"].items()}
            sizes = {jar: (place / jar).stat().st_size for jar in locked}
            if sizes != locked or json.loads((place / _MANIFEST).read_text()) != entry:
                return False
    except (OSError, ValueError, JarError):
        return False
    return True


def verify(name: JarSet, directory: Path) -> dict[str, Any]:
    """Compare the jars of a directory with the lock; returns the lock's entry.

    Raises:
        JarError: a jar is not locked, is missing or has another hash.
    """
    entry = locked_set(name)
    hashes = {jar.name: hash_files(jar) for jar in sorted(directory.glob("*.jar"))}
    faults = [f"{jar} is not locked" for jar in hashes if jar not in entry["jars"]]
    for jar, facts in entry["jars"].items():
        if jar not in hashes:
            faults.append(f"{jar} ({facts['coordinates']}) is missing")
        elif hashes[jar] != facts["sha256"]:
            faults.append(f"{jar} has SHA-256 {hashes[jar]}, not {facts['sha256']}")
    if faults:
        raise JarError(
            f"the {name} jars are not those of {LOCK.name}: {'; '.join(faults)}. None was "
            f"installed. Check the proxy or mirror that served them and try again; {_RELOCK}"
        )
    return entry


def locked_set(name: JarSet) -> dict[str, Any]:
    """The entry of a set in the lock.

    Raises:
        JarError: it was resolved from something else than now.
    """
    entry: dict[str, Any] = json.loads(LOCK.read_text()).get(name, {})
    if entry.get("resolved_from") != resolved_from(name):
        raise JarError(f"{LOCK.name} is out of date for the {name} jars: {_RELOCK}")
    return entry


def resolved_from(name: JarSet) -> dict[str, Any]:
    """Everything that the jars of a set follow from."""
    pyspark = {"pyspark": version("pyspark")} if name == "spark" else {}  # its jars are left out
    return {"coordinates": COORDINATES[name], "excluded": EXCLUDED[name], **pyspark}


def fetch(name: JarSet, out: Path, cache: Path) -> dict[str, str]:
    """Fetch a set into an empty directory; returns coordinates by file name.

    Modules that PySpark ships are left out in any version: Spark's class loader prefers its own
    copy, and the set comes first on the class path.
    """
    excluded = set(EXCLUDED[name])
    if name == "spark":
        shipped = (re.match(r"(.+?)-\d", jar.stem) for jar in ivy.pyspark_jars().glob("*.jar"))
        excluded |= {match[1] for match in shipped if match}
    return ivy.retrieve(name, COORDINATES[name], excluded, out, cache)


def _install(jars_dir: Path, name: JarSet) -> None:
    """Fetch a set, verify it, and rename it into place."""
    locked_set(name)  # raises before anything is fetched
    started = time.monotonic()
    logger.info("resolving the %s jars: %s", name, ", ".join(COORDINATES[name]))
    cache = jars_dir / f"ivy-{name}"  # kept when fetching fails, for a retry
    with replacing(jars_dir / name) as work:
        work.mkdir()
        fetch(name, work, cache)
        shutil.rmtree(cache, ignore_errors=True)
        entry = verify(name, work)
        (work / _MANIFEST).write_text(json.dumps(entry, indent=1))
    sizes = [facts["bytes"] / 1e6 for facts in entry["jars"].values()]
    seconds = time.monotonic() - started
    logger.info("%d %s jars (%.0f MB) in %.0f s", len(sizes), name, sum(sizes), seconds)


def _lock(name: JarSet) -> dict[str, Any]:
    """Resolve a set; returns its entry in the lock."""
    jars = {}
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as cache:
        for file, coordinates in sorted(fetch(name, Path(scratch), Path(cache)).items()):
            jar = Path(scratch) / file
            digest, size = hash_files(jar), jar.stat().st_size
            jars[file] = {"coordinates": coordinates, "sha256": digest, "bytes": size}
    return {"resolved_from": resolved_from(name), "jars": jars}


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    write_json(LOCK, {name: _lock(name) for name in ALL})
