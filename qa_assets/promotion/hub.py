"""Uploading a champion to a model repository of the Hugging Face hub.

The hub's client takes token and address from the environment (HF_TOKEN, HF_ENDPOINT). No message,
log or asset holds the token.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from qa_assets.core.artifacts import MANIFEST

logger = logging.getLogger(__name__)

_PRIVATE = [MANIFEST, "*.parquet", "*.html"]  # local paths, and texts of the data set


class HubError(RuntimeError):
    """An upload that failed; the message says why and the remedy."""


@dataclass(frozen=True)
class Published:
    """A model on the hub."""

    url: str
    commit: str
    files: list[str]


def publish(model: Path, repository: str, *, private: bool, message: str) -> Published:
    """Upload a Hugging Face directory and its README.md in one commit.

    A missing repository is created, private if `private`.

    Raises:
        HubError: there is no token, or the hub refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError
    from requests import RequestException

    if get_token() is None:
        raise HubError(
            "there is no token for the hub: set HF_TOKEN to one that may write to " + repository
        )
    api = HfApi()
    try:
        repo = api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=model, commit_message=message, ignore_patterns=_PRIVATE
        )
        files = api.list_repo_files(repository, revision=commit.oid)
    except (HfHubHTTPError, RequestException) as error:
        reason = " ".join(str(error).split())
        raise HubError(
            f"{repository} could not be uploaded ({reason}); see that HF_TOKEN may write to it"
        ) from error
    logger.info("%s: %d files at %s", repository, len(files), commit.oid)
    return Published(str(repo), commit.oid, files)
