"""Files and directories: atomic replacement by a rename, hashes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file or directory: write to the path that the block gets, renamed at its end.

    If the block fails, that path is removed and `path` stays as it is.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    _remove(unfinished)
    try:
        yield unfinished
        _sync(unfinished)
        if unfinished.is_dir() and path.exists():
            old = path.with_name(f".{path.name}.old")
            _remove(old)
            path.rename(old)
            unfinished.rename(path)
            _remove(old)
        else:
            unfinished.replace(path)
    finally:
        _remove(unfinished)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Write a new directory, which is at `path` when the block has succeeded, or not at all.

    Raises:
        FileExistsError: `path` exists and is not an empty directory.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists already: remove it, or write to another directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.mkdir()
        yield unfinished


def recover(directory: Path) -> None:
    """Clear up after a process that was killed while `replacing` something in a directory.

    What was replaced is back under its name, unless the replacement was complete.
    """
    for old in directory.glob(".*.old"):
        path = directory / old.name[1 : -len(".old")]
        if path.exists():
            _remove(old)
        else:
            old.rename(path)
    for unfinished in directory.glob(".*.unfinished"):
        _remove(unfinished)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def hash_files(path: Path) -> str:
    """SHA-256 over the names and contents of all files below `path`, or of one file."""
    if path.is_file():
        return _hash_file(path)
    total = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        total.update(f"{file.relative_to(path)}\0{_hash_file(file)}\n".encode())
    return total.hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush to the disk, before the rename: after a power cut the file could be empty."""
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
