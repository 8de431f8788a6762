"""Fetches raw data files: generated, official, from a file, directory, address or the hub.

Files are copied byte by byte; only data sets of the hub are converted, to Parquet. What a valid
file holds is for the task to know.
"""

import logging
import re
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
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
HUB, ADDRESS = "hf:", "://"
"""What begins a name on the hub, and what an address for fsspec has in it."""

_STEMS = {TRAIN: ("train",), VALID: ("valid",), DEV: ("dev", "validation", "test")}
_SUFFIX = r"([-_]v?\d[\d.]*)?\.(json|jsonl|ndjson|parquet|csv|tsv|txt)"
_REMEDY = (
    "name a place that holds train.json and dev.json (or .jsonl, .parquet; docs/data.md has"
    " examples) as `data.source`, or `official` or `generated`"
)

logger = logging.getLogger(__name__)


def fetch(task: Task, data: DataConfig, out: Path, downloads: Path) -> dict[str, FileFacts]:
    """Copy the data files to `out`, named by their role and format.

    Downloads are kept in `downloads`, complete or to be resumed.

    Returns:
        The facts of each file by its name, train first.

    Raises:
        SourceError: a file is missing, cannot be fetched, or is no data file.
    """
    facts = {}
    for role, path in _files(task, data, out, downloads).items():
        fact = task.inspect(path)  # an error names the user's file, not our copy
        target = out / f"{role}.{fact.format}"
        if path.parent == out:
            path.rename(target)
        else:
            shutil.copyfile(path, target)
        facts[target.name] = fact
    return facts


def _files(task: Task, data: DataConfig, out: Path, downloads: Path) -> dict[str, Path]:
    """The data files by role, where they are, or fetched to `out` or `downloads`."""
    if data.source == "generated":
        train, test = task.generate(out, data.generated_examples, data.seed)
        return {TRAIN: train, DEV: test}
    if data.source == "official":
        paths = [download(url, sha256, downloads) for url, sha256 in task.raw.official.items()]
        roles = [ALL] if len(paths) == 1 else [TRAIN, DEV]
        return dict(zip(roles, paths, strict=True))
    if data.source.startswith(HUB):
        return _from_hub(data.source, out, downloads / "hub")
    return _from_address(data.source, out) if ADDRESS in data.source else locate(data.source)


def role_of(file_name: str) -> str:
    """The role of a copied file."""
    return file_name.partition(".")[0]


def part_of(file_name: str) -> str:
    """The split that a copied file belongs to; `all` is train, to be split."""
    role = role_of(file_name)
    return {DEV: TEST, ALL: TRAIN}.get(role, role)


def locate(source: str) -> dict[str, Path]:
    """The data files of a directory by role, or the file itself.

    Raises:
        SourceError: a file is missing.
    """
    place = Path(source).expanduser()
    if place.is_file():
        return {ALL: place}
    names = [item.name for item in place.iterdir()] if place.is_dir() else []
    return {role: place / name for role, name in _choose(names, str(place.absolute())).items()}


def _choose(names: Iterable[str], place: str) -> dict[str, str]:
    """The name of the file to take for each role."""
    names = sorted(names)
    chosen = {}
    for role, stems in _STEMS.items():
        matches = [name for stem in stems for name in names if re.fullmatch(stem + _SUFFIX, name)]
        if matches:
            chosen[role] = matches[0]
        elif role != VALID:
            raise SourceError(f"no {' or '.join(stems)} file in {place}: {_REMEDY}")
        if len(matches) > 1:
            logger.info("%s: %s is taken for %s, not %s", place, matches[0], role, matches[1:])
    return chosen


def _from_address(address: str, out: Path) -> dict[str, Path]:
    system, root = open_address(address)
    try:
        names = {PurePosixPath(item).name: item for item in system.ls(root, detail=False)}
        files = {}
        for role, name in _choose(names, address).items():
            logger.info("copying %s/%s", address.rstrip("/"), name)
            files[role] = out / f"fetched-{name}"
            system.get_file(names[name], str(files[role]))
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


def _from_hub(source: str, out: Path, cache: Path) -> dict[str, Path]:
    """`hf:owner/name`, or `hf:owner/name@revision`; a directory in place of the name works too."""
    import datasets

    name, _, revision = source.removeprefix(HUB).partition("@")
    try:
        loaded: Any = datasets.load_dataset(name, revision=revision or None, cache_dir=str(cache))
        files = {}
        for role, file in _choose([f"{split}.parquet" for split in loaded], source).items():
            files[role] = out / f"fetched-{role}.parquet"
            loaded[file.removesuffix(".parquet")].to_parquet(str(files[role]))
    except SourceError:
        raise
    except Exception as error:  # datasets raises whatever its readers and the network raise
        raise SourceError(
            f"{source} cannot be had from the hub ({type(error).__name__}: {error}): check"
            f" the name and the network, or {_REMEDY}"
        ) from error
    return files
