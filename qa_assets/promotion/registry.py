"""Champions in MLflow's model registry: a version each, the alias on the one that serves.

A version's source is the directory of the artefact; no weights are copied and nothing is pickled.
A candidate gets a version when it becomes the champion, so that the versions are the champions in
their order. One that was rolled back keeps its version, with the tag `rolled_back`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

ALIAS = "champion"
ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Version:
    """A registered champion.

    Attributes:
        number: from 1, in the order of promotion.
        path: directory of its artefact.
        data_version: of its artefact, which is the candidate's that it was.
        rolled_back: when, if it was.
    """

    number: int
    path: Path
    data_version: str
    rolled_back: str | None


class Registry:
    """The champions of one registered model."""

    def __init__(self, uri: str, name: str) -> None:
        """Connect, and register the model if it is not there.

        Args:
            uri: MLflow's tracking server, or a database.
            name: the registered model's.
        """
        from mlflow import MlflowClient

        self.uri, self.name = uri, name
        self._client = MlflowClient(uri)
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)

    def versions(self) -> list[Version]:
        """Every champion there was, the newest first."""
        found = self._client.search_model_versions(f"name = '{self.name}'")
        return sorted(map(_version, found), key=lambda version: -version.number)

    def champion(self) -> Version | None:
        """The version that has the alias."""
        number = self._client.get_registered_model(self.name).aliases.get(ALIAS)
        if number is None:
            return None
        return _version(self._client.get_model_version(self.name, number))

    def before(self, version: Version) -> Version | None:
        """The champion before that one, leaving out those that were rolled back."""
        earlier = (
            one for one in self.versions() if one.number < version.number and not one.rolled_back
        )
        return next(earlier, None)

    def register(self, path: Path, data_version: str, tags: Mapping[str, str]) -> Version:
        """Make a new version of the artefact in `path`, and put the alias on it."""
        told = {**tags, "path": str(path), "data_version": data_version}
        made = self._client.create_model_version(self.name, self._source(path), tags=told)
        version = _version(made)
        try:
            self.put_alias(version)
        except BaseException:  # a version is a champion: there is to be none that never was
            self._client.delete_model_version(self.name, made.version)
            raise
        return version

    def put_alias(self, version: Version) -> None:
        """Let that version be the champion."""
        self._client.set_registered_model_alias(self.name, ALIAS, str(version.number))
        _log.info("%s: version %d is the champion", self.name, version.number)

    def mark_rolled_back(self, version: Version) -> None:
        """Note that it is not to become the champion again."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._client.set_model_version_tag(self.name, str(version.number), ROLLED_BACK, now)

    def _source(self, path: Path) -> str:
        # a server refuses paths of its clients' file systems, and only stores any other scheme
        return f"qa-assets://{path}" if self.uri.startswith("http") else str(path)


def _version(found: Any) -> Version:
    tags = found.tags
    return Version(
        int(found.version), Path(tags["path"]), tags["data_version"], tags.get(ROLLED_BACK)
    )
