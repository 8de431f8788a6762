"""Downloads of files whose SHA-256 is known: resumed when interrupted, cached when complete."""

import logging
import time
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from qa_assets.core.files import hash_files
from qa_assets.core.task import SourceError

_ATTEMPTS = 6
_BLOCK = 1 << 16
_EVERY_S = 2.0
_PARTIAL, _COMPLETE = 206, 416

logger = logging.getLogger(__name__)


def download(url: str, sha256: str, into: Path, backoff_s: float = 1.0) -> Path:
    """Download a file into a directory, unless it is there already.

    Resumes a partial download. Retries broken connections and temporary refusals (429, 5xx).

    Raises:
        SourceError: it cannot be fetched, or has another SHA-256 and is removed.
    """
    into.mkdir(parents=True, exist_ok=True)
    whole = into / url.rsplit("/", 1)[-1]
    if whole.is_file() and hash_files(whole) == sha256:
        return whole
    part = whole.with_name(f"{whole.name}.part")
    logger.info("downloading %s", url)
    retry = Retry(
        total=_ATTEMPTS,
        backoff_factor=backoff_s,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=["GET"],
    )
    with requests.Session() as session:
        session.mount(url, HTTPAdapter(max_retries=retry))
        for attempt in range(_ATTEMPTS):
            try:
                _resume(session, url, part)
                break
            except requests.exceptions.RequestException as error:
                refused = error.response is not None  # after the retries of the adapter
                if refused or attempt + 1 == _ATTEMPTS:
                    raise SourceError(
                        f"cannot download {url} ({error}): check the network and try again, which"
                        " resumes the download; or name as `data.source` a directory that holds"
                        " the files"
                    ) from None
                pause = backoff_s * 2**attempt
                logger.info("%s broke off (%s): again in %.0f s", whole.name, error, pause)
                time.sleep(pause)
    actual = hash_files(part)
    if actual != sha256:
        part.unlink()
        raise SourceError(
            f"{url} has SHA-256 {actual}, not {sha256}: it was changed, there or on the way. It was"
            " removed; try again, or name as `data.source` a directory with files that you trust"
        )
    part.replace(whole)
    return whole


def _resume(session: requests.Session, url: str, part: Path) -> None:
    """Append what is missing of a file."""
    # training on a machine without rich imports this module, and downloads nothing
    from rich.filesize import decimal

    have = part.stat().st_size if part.exists() else 0
    # uncompressed, since ranges count the bytes of the file
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, stream=True, timeout=30, headers=headers) as response:
        if have and response.status_code == _COMPLETE:
            return
        response.raise_for_status()
        if response.status_code != _PARTIAL:
            have = 0
        size = have + int(response.headers.get("Content-Length", 0))
        logged = time.monotonic()
        with part.open("ab" if have else "wb") as stream:
            for block in response.iter_content(_BLOCK):
                stream.write(block)
                have += len(block)
                if time.monotonic() - logged > _EVERY_S or have == size:
                    logged = time.monotonic()
                    logger.info("%s: %s of %s", part.stem, decimal(have), decimal(size))
