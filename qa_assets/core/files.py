"""Files and directories: written beside and renamed, so whole or not there; locked; hashed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file or a directory under, which takes the place of `path` at the end.

    If the block fails, what was written is removed and what was at `path` stays.
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
    """A new directory to write into, which becomes `path` at the end; else nothing is left of it.

    Raises:
        FileExistsError: `path` exists and is not an empty directory.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path} exists already: remove it, or write to another directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.mkdir()
        yield unfinished


def recover(directory: Path) -> None:
    """Clear up after a process that was killed while `replacing` something in a directory.

    What was there before gets its name back, if the new one did not get it.
    """
    for old in directory.glob(".*.old"):
        path = directory / old.name[1 : -len(".old")]
        if path.exists():
            _remove(old)
        else:
            old.rename(path)
    for unfinished in directory.glob(".*.unfinished"):
        _remove(unfinished)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds a file, which is made if need be, and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
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
    """Have it on the disk before it gets its name: a power cut could leave it empty."""
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
