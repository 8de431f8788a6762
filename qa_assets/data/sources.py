"""Fetches raw data files: generated, official, from a file, directory, address or the hub.

Files are copied byte by byte; only data sets of the hub are converted, to Parquet. What a valid
file holds is for the task to know.
"""

import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.core.descriptions import FileFacts
from qa_assets.core.task import SourceError, Task
from qa_assets.data.config import DataConfig
from qa_assets.data.download import download

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TRAIN, VALID, DEV, ALL = "train", "valid", "dev", "all"
"""Roles of data files, and names of their copies: `all` alone, or `train`, `dev` and, if there is
one, `valid`; else valid examples are held out of train."""
TEST = "test"
HUB = "hf:"

_STEMS = {TRAIN: ("train",), VALID: ("valid",), DEV: ("dev", "validation", "test")}
_SUFFIX = r"([-_]v?\d[\d.]*)?\.(json|jsonl|ndjson|parquet|csv|tsv|txt)"
_REMEDY = (
    "name a place that holds train.json and dev.json (or .jsonl, .parquet; docs/data.md has"
    " examples) as `data.source`, or `official` or `generated`"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawFile:
    """A data file, and whether it is `TRAIN`, `VALID`, `DEV` or `ALL`."""

    role: str
    path: Path


def fetch(task: Task, data: DataConfig, out: Path, downloads: Path) -> dict[str, FileFacts]:
    """Copy the data files to `out`, named by their role and format.

    Args:
        task: knows the formats of data files.
        data: `source` says where they are.
        out: an existing directory.
        downloads: where downloads are kept, complete or to be resumed.

    Returns:
        The facts of each file by its name, train first.

    Raises:
        SourceError: a file is missing, cannot be fetched, or is no data file.
    """
    facts = {}
    for file in _files(task, data, out, downloads):
        fact = task.inspect(file.path)  # an error names the user's file, not our copy
        target = out / f"{file.role}.{fact.format}"
        if file.path.parent == out:
            file.path.rename(target)
        else:
            shutil.copyfile(file.path, target)
        facts[target.name] = fact
    return facts


def _files(task: Task, data: DataConfig, out: Path, downloads: Path) -> list[RawFile]:
    """The data files where they are, or fetched to `out` or `downloads`."""
    if data.source == "generated":
        train, test = task.generate(out, data.generated_examples, data.seed)
        return [RawFile(TRAIN, train), RawFile(DEV, test)]
    if data.source == "official":
        paths = [download(url, sha256, downloads) for url, sha256 in task.raw.official.items()]
        roles = [ALL] if len(paths) == 1 else [TRAIN, DEV]
        return [RawFile(role, path) for role, path in zip(roles, paths, strict=True)]
    if data.source.startswith(HUB):
        return _from_hub(data.source, out, downloads / "hub")
    return _from_address(data.source, out) if is_address(data.source) else locate(data.source)


def role_of(file_name: str) -> str:
    """The role of a copied file."""
    return file_name.partition(".")[0]


def part_of(file_name: str) -> str:
    """The split that a copied file belongs to; `all` is train, to be split."""
    role = role_of(file_name)
    return {DEV: TEST, ALL: TRAIN}.get(role, role)


def is_address(source: str) -> bool:
    """Whether it is an address for fsspec, such as `s3://bucket/folder`."""
    return "://" in source


def locate(source: str) -> list[RawFile]:
    """The data files of a directory, or the file itself.

    Raises:
        SourceError: a file is missing.
    """
    place = Path(source).expanduser()
    if place.is_file():
        return [RawFile(ALL, place)]
    names = [item.name for item in place.iterdir()] if place.is_dir() else []
    return [RawFile(role, place / name) for role, name in _choose(names, str(place.absolute()))]


def _choose(names: Iterable[str], place: str) -> list[tuple[str, str]]:
    """Role and name of each file to take."""
    names = sorted(names)
    chosen = []
    for role, stems in _STEMS.items():
        matches = [name for stem in stems for name in names if re.fullmatch(stem + _SUFFIX, name)]
        if matches:
            chosen.append((role, matches[0]))
        elif role != VALID:
            raise SourceError(f"no {' or '.join(stems)} file in {place}: {_REMEDY}")
        if len(matches) > 1:
            logger.info("%s: %s is taken for %s, not %s", place, matches[0], role, matches[1:])
    return chosen


def _from_address(address: str, out: Path) -> list[RawFile]:
    system, root = open_address(address)
    try:
        names = {
            item.rstrip("/").rsplit("/", 1)[-1]: item for item in system.ls(root, detail=False)
        }
        files = []
        for role, name in _choose(names, address):
            logger.info("copying %s/%s", address.rstrip("/"), name)
            files.append(RawFile(role, out / f"fetched-{name}"))
            system.get_file(names[name], str(files[-1].path))
    except SourceError:
        raise
    except Exception as error:  # each protocol's package has exceptions of its own
        raise SourceError(
            f"{address} cannot be read ({type(error).__name__}: {error}): check the"
            " address, your credentials and the network"
        ) from error
    return files


def open_address(address: str) -> "tuple[AbstractFileSystem, str]":
    """The file system of an address, and the path in it.

    Raises:
        SourceError: the protocol is unknown, or its package is not installed.
    """
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"{address}: {error}. Install the package of that protocol beside qa_assets (s3fs for"
            " s3://, gcsfs for gs://, adlfs for abfs://), or copy the files to a directory"
        ) from None
    return system, root


def _from_hub(source: str, out: Path, cache: Path) -> list[RawFile]:
    """`hf:owner/name`, or `hf:owner/name@revision`; a directory in place of the name works too."""
    import datasets

    name, _, revision = source.removeprefix(HUB).partition("@")
    try:
        loaded: Any = datasets.load_dataset(name, revision=revision or None, cache_dir=str(cache))
        files = []
        for role, file in _choose([f"{split}.parquet" for split in loaded], source):
            files.append(RawFile(role, out / f"fetched-{role}.parquet"))
            loaded[file.removesuffix(".parquet")].to_parquet(str(files[-1].path))
    except SourceError:
        raise
    except Exception as error:  # datasets raises whatever its readers and the network raise
        raise SourceError(
            f"{source} cannot be had from the hub ({type(error).__name__}: {error}): check"
            f" the name and the network, or {_REMEDY}"
        ) from error
    return files
