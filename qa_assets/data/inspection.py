"""What `Task.inspect` does for all tasks: a file's first lines, its size and hash, its errors."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from qa_assets.core.descriptions import FileFacts
from qa_assets.core.files import hash_files
from qa_assets.core.task import SourceError

Counts = tuple[int, dict[str, int | None]]
"""Of records, and of what else the task counts, by name."""


def first_lines(path: Path) -> list[bytes]:
    """The first two lines that are not blank; none where the file is Parquet.

    Raises:
        SourceError: it is Parquet by its name only.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
        if start == b"PAR1":
            return []
        if path.suffix == ".parquet":
            raise SourceError(f"{path} is not Parquet: it begins with {start!r}, not with b'PAR1'")
        stream.seek(0)
        lines = list(islice((line for line in stream if line.strip()), 2))
        return lines or [b""]


def inspect_file(
    path: Path,
    format_of: Callable[[Path], str],
    count: Callable[[str], Counts],
    record: str,
) -> FileFacts:
    """The facts of a data file; `count` reads it as the format that it is called with.

    Raises:
        SourceError: it cannot be read, or holds no `record`.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise SourceError(f"{path} is empty (0 bytes): fetch or write it again")
        kind = format_of(path)
        total, counts = count(kind)
        checksum = hash_files(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    if not total:
        raise SourceError(f"{path} holds no {record}")
    return FileFacts(kind, checksum, size, total, counts)
