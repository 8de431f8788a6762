"""What lies beside a model that serves: what it is, what it was made of, and its checksums."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from qa_assets.core.files import hash_files

FILE = "provenance.json"
Engine = Literal["spark_nlp", "ctranslate2"]


class ProvenanceError(RuntimeError):
    """A directory that holds no model that serves, or not as it was made."""


@dataclass(frozen=True)
class Provenance:
    """How a model is asked, and where it comes from.

    Attributes:
        engine: that runs it.
        no_answer: what it says to abstain.
        max_new_tokens: longest answer, in tokens.
        max_source_tokens: of a window of a longer context.
        window_overlap_tokens: what neighbouring windows share.
        recipe: how it was quantised, `fp32` if it was not.
        made_of: versions of model, data and code.
        files: SHA-256 by name, of all files beside this one.
    """

    engine: Engine
    no_answer: str
    max_new_tokens: int
    max_source_tokens: int
    window_overlap_tokens: int
    recipe: str
    made_of: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)


def write(directory: Path, provenance: Provenance) -> None:
    """Write it beside the files of a model, with their checksums."""
    content = asdict(provenance) | {"files": _checksums(directory)}
    (directory / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(directory: Path) -> Provenance:
    """Read it, and see that the files are those that it was written for.

    Raises:
        ProvenanceError: there is none, or a file was changed, is missing or was added.
    """
    path = directory / FILE
    if not path.is_file():
        raise ProvenanceError(f"{directory} has no {FILE}: materialise the model that serves again")
    provenance = Provenance(**json.loads(path.read_text(encoding="utf-8")))
    found = _checksums(directory)
    for name in sorted(provenance.files.keys() | found.keys()):
        if provenance.files.get(name) != found.get(name):
            raise ProvenanceError(
                f"{directory / name} is not what {FILE} says: materialise the model again"
            )
    return provenance


def _checksums(directory: Path) -> dict[str, str]:
    return {
        str(file.relative_to(directory)): hash_files(file)
        for file in sorted(directory.rglob("*"))
        # .crc: Hadoop's own checksums, which it leaves out where a file system has no need of them
        if file.is_file() and file.name != FILE and file.suffix != ".crc"
    }
