"""Getting the two data files: generated, official, from a directory, an address or the hub.

What is fetched is copied as it is; only data sets of the hub are written anew, as Parquet.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_assets.data.download import download
from qa_assets.settings import DataSettings
from qa_assets.tasks.question_answering.formats import FileFacts, SourceError, inspect
from qa_assets.tasks.question_answering.generated import generate

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TRAIN, DEV = "train", "dev"
HUB = "hf:"

OFFICIAL_URL = "https://rajpurkar.github.io/SQuAD-explorer/dataset/"
# SHA-256 of the files at the official address
_OFFICIAL_SHA256 = {
    "train-v2.0.json": "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002",
    "dev-v2.0.json": "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8",
}
# names of the second file, the first one found wins
_STEMS = {TRAIN: (TRAIN,), DEV: (DEV, "validation", "test")}
_NAME = r"{stem}([-_]v?\d[\d.]*)?\.(json|jsonl|ndjson|parquet)"
_REMEDY = (
    "set QA_ASSETS_DATA_SOURCE to a place that holds train.json and dev.json (or .jsonl, .parquet;"
    " docs/data.md has examples), to `official` or to `generated`"
)

_log = logging.getLogger(__name__)


def fetch(settings: DataSettings, out: Path, downloads: Path) -> dict[str, FileFacts]:
    """Write the train and the dev file under `out`, as `train` and `dev` with their formats' names.

    Args:
        settings: `source` says where from.
        out: where to.
        downloads: where downloads are kept, whole or broken off, to go on with.

    Returns:
        The facts of both, train first, by file name.

    Raises:
        SourceError: a file is missing, cannot be had, or is no data file.
    """
    get: Callable[[DataSettings, Path, Path], list[Path]]
    if settings.source == "generated":
        get = _generate
    elif settings.source == "official":
        get = _official
    elif settings.source.startswith(HUB):
        get = _from_hub
    else:
        get = _from_address if is_address(settings.source) else _from_directory
    facts = {}
    for name, path in zip((TRAIN, DEV), get(settings, out, downloads), strict=True):
        fact = inspect(path)  # an error should name the user's file, not our copy
        target = out / f"{name}.{fact.format}"
        if path.parent == out:
            path.rename(target)
        else:
            shutil.copyfile(path, target)
        facts[target.name] = fact
    return facts


def is_address(source: str) -> bool:
    """Whether it is an address for fsspec, such as `s3://bucket/folder`."""
    return "://" in source


def locate(directory: str) -> list[Path]:
    """The train and the dev file in a user's directory.

    Raises:
        SourceError: one is not there.
    """
    place = Path(directory).expanduser()
    names = [item.name for item in place.iterdir()] if place.is_dir() else []
    return [place / name for name in _choose(names, str(place.absolute()))]


def _choose(names: Iterable[str], place: str) -> list[str]:
    chosen = []
    for which, stems in _STEMS.items():
        found = [
            name
            for stem in stems
            for name in sorted(names)
            if re.fullmatch(_NAME.format(stem=stem), name)
        ]
        if not found:
            raise SourceError(f"no {' or '.join(stems)} file in {place}: {_REMEDY}")
        if len(found) > 1:
            _log.info("%s: %s is taken for %s, not %s", place, found[0], which, found[1:])
        chosen.append(found[0])
    return chosen


def _generate(settings: DataSettings, out: Path, _: Path) -> list[Path]:
    generate(out, questions=settings.generated_questions, seed=settings.seed)
    return [out / "train-v2.0.json", out / "dev-v2.0.json"]


def _official(_: DataSettings, __: Path, downloads: Path) -> list[Path]:
    return [
        download(OFFICIAL_URL + name, checksum, downloads)
        for name, checksum in _OFFICIAL_SHA256.items()
    ]


def _from_directory(settings: DataSettings, _: Path, __: Path) -> list[Path]:
    return locate(settings.source)


def _from_address(settings: DataSettings, out: Path, _: Path) -> list[Path]:
    system, root = open_address(settings.source)
    try:
        names = {
            item.rstrip("/").rsplit("/", 1)[-1]: item for item in system.ls(root, detail=False)
        }
        paths = []
        for name in _choose(names, settings.source):
            _log.info("copying %s/%s", settings.source.rstrip("/"), name)
            paths.append(out / f"fetched-{name}")
            system.get_file(names[name], str(paths[-1]))
    except SourceError:
        raise
    except Exception as error:  # each protocol's package has exceptions of its own
        raise SourceError(
            f"{settings.source} cannot be read ({type(error).__name__}: {error}): check the"
            " address, your credentials and the network"
        ) from error
    return paths


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


def _from_hub(settings: DataSettings, out: Path, downloads: Path) -> list[Path]:
    """`hf:owner/name`, or `hf:owner/name@revision`; a directory in place of the name works too."""
    import datasets

    name, _, revision = settings.source.removeprefix(HUB).partition("@")
    try:
        found: Any = datasets.load_dataset(
            name, revision=revision or None, cache_dir=str(downloads / "hub")
        )
        splits = list(found)
        paths = []
        for which, stems in _STEMS.items():
            split = next((stem for stem in stems if stem in splits), None)
            if split is None:
                raise SourceError(f"{settings.source} has {splits}, but no {' or '.join(stems)}")
            paths.append(out / f"fetched-{which}.parquet")
            found[split].to_parquet(str(paths[-1]))
    except SourceError:
        raise
    except Exception as error:  # datasets raises whatever its readers and the network raise
        raise SourceError(
            f"{settings.source} cannot be had from the hub ({type(error).__name__}: {error}): check"
            f" the name and the network, or {_REMEDY}"
        ) from error
    return paths
