"""Getting the two SQuAD files: generated, from the official address, or from a local directory.

Says what is wrong with a file that is not SQuAD v2.0; looking at every question is left to the
splits and their checks.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from rich.filesize import decimal

from qa_assets.artifacts import hash_files
from qa_assets.embedded.generated_squad import generate
from qa_assets.settings import DataSettings

TRAIN, DEV = "train-v2.0.json", "dev-v2.0.json"

OFFICIAL_URL = "https://rajpurkar.github.io/SQuAD-explorer/dataset/"
# SHA-256 of the files at the official address
_OFFICIAL_SHA256 = {
    TRAIN: "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002",
    DEV: "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8",
}

_log = logging.getLogger(__name__)


class SourceError(RuntimeError):
    """A data file that cannot be had or read; the message names it and the remedy."""


@dataclass(frozen=True)
class FileFacts:
    """What one SQuAD file holds."""

    sha256: str
    bytes: int
    articles: int
    questions: int
    answerable: int


def fetch(settings: DataSettings, out: Path) -> dict[str, FileFacts]:
    """Write `train.json` and `dev.json` under `out`.

    Returns:
        The facts of each, by file name.

    Raises:
        SourceError: a file is missing, cannot be downloaded, or is not SQuAD v2.0.
    """
    if settings.source == "generated":
        generate(out, questions=settings.generated_questions, seed=settings.seed)
        for name in (TRAIN, DEV):
            (out / name).rename(out / _short(name))
    elif settings.source == "official":
        for name, expected in _OFFICIAL_SHA256.items():
            _download(OFFICIAL_URL + name, out / _short(name), expected)
    else:
        for path, name in zip(locate(settings.source), (TRAIN, DEV), strict=True):
            inspect(path)  # an error should name the user's file, not our copy
            shutil.copyfile(path, out / _short(name))
    return {_short(name): inspect(out / _short(name)) for name in (TRAIN, DEV)}


def _short(name: str) -> str:
    return name.replace("-v2.0", "")


def locate(directory: str) -> list[Path]:
    """The train and the dev file in a user's directory, by their official or short names.

    Raises:
        SourceError: one is not there.
    """
    found = []
    for name in (TRAIN, DEV):
        candidates = [Path(directory).expanduser() / file for file in (name, _short(name))]
        existing = [path for path in candidates if path.is_file()]
        if not existing:
            raise SourceError(
                f"no {name} or {_short(name)} in {Path(directory).absolute()}: set"
                " QA_ASSETS_DATA_SOURCE to a directory that holds both SQuAD v2.0 files, or to"
                " `official` or `generated`"
            )
        found.append(existing[0])
    return found


def _download(url: str, out: Path, expected: str) -> None:
    _log.info("downloading %s", url)
    try:
        with requests.get(url, stream=True, timeout=30) as response:
            response.raise_for_status()
            size = int(response.headers.get("Content-Length", 0))
            with out.open("wb") as stream:
                done = 0
                for block in response.iter_content(4 * 1024**2):
                    stream.write(block)
                    done += len(block)
                    _log.info("%s: %s of %s", out.name, decimal(done), decimal(size))
    except requests.RequestException as error:
        raise SourceError(
            f"cannot download {url} ({error}): check the network, or set QA_ASSETS_DATA_SOURCE to a"
            f" directory that holds {TRAIN} and {DEV}"
        ) from None
    found = hash_files(out)
    if found != expected:
        raise SourceError(f"{url} has SHA-256 {found}, not {expected}: try again later")


def inspect(path: Path) -> FileFacts:
    """Count what a SQuAD v2.0 file holds.

    Raises:
        SourceError: it is not JSON of that schema, or holds no question.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path} is not readable as JSON: {error}") from None
    questions = answerable = 0
    place = "data"
    try:
        for number, article in enumerate(content["data"]):
            place = f"data[{number}]"
            for paragraph in article["paragraphs"]:
                questions += len(paragraph["qas"])
                answerable += sum(_is_answerable(row) for row in paragraph["qas"])
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{path} is not SQuAD v2.0 at {place}: {type(error).__name__} {error}. Expected"
            " data[].paragraphs[].{context, qas[].{id, question, answers, is_impossible}}"
        ) from None
    if not questions:
        raise SourceError(f"{path} holds no question")
    return FileFacts(
        hash_files(path), path.stat().st_size, len(content["data"]), questions, answerable
    )


def _is_answerable(row: Mapping[str, Any]) -> bool:
    if not {"id", "question", "answers"} <= row.keys():
        raise KeyError(f"question {row.get('id')!r} lacks id, question or answers")
    return not row.get("is_impossible", False)
