"""`provenance.json` in the directory of a serving model: how to run it, its origin, checksums.

How such a directory is loaded and asked is in `serving`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qa_assets.core.files import hash_files
from qa_assets.deployment.config import EngineName

FILE = "provenance.json"


class ProvenanceError(RuntimeError):
    """A directory without a serving model, or whose files have changed since it was written."""


@dataclass(frozen=True)
class Provenance:
    """How a model is run, and where it comes from.

    Attributes:
        engine: that runs it.
        task: of the model, as `Task.spec` describes it.
        max_new_tokens: of an output, its end included.
        max_source_tokens: of a prompt; longer examples become windows.
        window_overlap_tokens: that neighbouring windows share.
        recipe: how it was quantised; `fp32` if it was not.
        made_of: versions of model, data and code.
        files: SHA-256 by name, of all files beside this one.
    """

    engine: EngineName
    task: dict[str, Any]
    max_new_tokens: int
    max_source_tokens: int
    window_overlap_tokens: int
    recipe: str
    made_of: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)


def write(directory: Path, provenance: Provenance) -> None:
    """Write `provenance.json`, with the checksums of the files that are there now."""
    content = asdict(provenance) | {"files": _checksums(directory)}
    (directory / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(directory: Path) -> Provenance:
    """Read `provenance.json` and verify the checksums.

    Raises:
        ProvenanceError: there is none, or a file was changed, removed or added.
    """
    path = directory / FILE
    if not path.is_file():
        raise ProvenanceError(f"{directory} has no {FILE}: materialise the model that serves again")
    try:
        provenance = Provenance(**json.loads(path.read_text(encoding="utf-8")))
    except TypeError as error:
        raise ProvenanceError(
            f"{path} is of another version of qa_assets ({error}): materialise the model again"
        ) from None
    actual = _checksums(directory)
    for name in sorted(provenance.files.keys() | actual.keys()):
        if provenance.files.get(name) != actual.get(name):
            raise ProvenanceError(
                f"{directory / name} is not what {FILE} says: materialise the model again"
            )
    return provenance


def _checksums(directory: Path) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): hash_files(file)
        for file in sorted(directory.rglob("*"))
        # .crc: Hadoop's own checksums, which it leaves out on some file systems
        if file.is_file() and file.name != FILE and file.suffix != ".crc"
    }
