"""`python -m qa_assets.local.lock_jars`: resolves the jars anew and writes `jars.lock.json`."""

import logging
import tempfile
from pathlib import Path
from typing import Any

from qa_assets.core.files import hash_files, write_json
from qa_assets.local.jars import ALL, LOCK, JarSet, fetch, resolved_from


def lock(name: JarSet) -> dict[str, Any]:
    """Resolve a set; returns its entry in the lock."""
    with tempfile.TemporaryDirectory(prefix="qa-assets-jars-") as scratch:
        out = Path(scratch) / "jars"
        out.mkdir()
        coordinates = fetch(name, out, Path(scratch) / "ivy")
        jars = {
            file: {
                "coordinates": coordinates[file],
                "sha256": hash_files(out / file),
                "bytes": (out / file).stat().st_size,
            }
            for file in sorted(coordinates)
        }
    return {"resolved_from": resolved_from(name), "jars": jars}


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    write_json(LOCK, {name: lock(name) for name in ALL})
