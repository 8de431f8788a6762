"""Champions in MLflow's model registry: a version each, in the order of promotion.

The alias `champion` is on the version that serves; a version that was rolled back has the tag
`rolled_back`. A version's source is the directory of the artefact: no weights are copied. Files and
links of the artefacts are in `champions`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

ALIAS = "champion"
ROLLED_BACK = "rolled_back"


@dataclass(frozen=True)
class Version:
    """A registered champion.

    Attributes:
        number: from 1, in the order of promotion.
        path: directory of the artefact.
        data_version: of the artefact and of the candidate.
        rolled_back: ISO time of the rollback, if there was one.
    """

    number: int
    path: Path
    data_version: str
    rolled_back: str | None


class Registry:
    """The champions of one registered model."""

    def __init__(self, uri: str, name: str) -> None:
        """Connect to MLflow's tracking server or database; registers the model if it is missing."""
        from mlflow import MlflowClient

        self.uri, self.name = uri, name
        self._client = MlflowClient(uri)
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)

    def versions(self) -> list[Version]:
        """All champions, the newest first."""
        versions = self._client.search_model_versions(f"name = '{self.name}'")
        return sorted(map(_version, versions), key=lambda version: -version.number)

    def champion(self) -> Version | None:
        """The version that has the alias."""
        number = self._client.get_registered_model(self.name).aliases.get(ALIAS)
        if number is None:
            return None
        return _version(self._client.get_model_version(self.name, number))

    def before(self, version: Version) -> Version | None:
        """The champion before a version, leaving out those that were rolled back."""
        kept = (other for other in self.versions() if not other.rolled_back)
        return next((other for other in kept if other.number < version.number), None)

    def register(self, path: Path, data_version: str, tags: Mapping[str, str]) -> Version:
        """Add a version for the artefact in `path`, and put the alias on it."""
        tags = {**tags, "path": str(path), "data_version": data_version}
        entity = self._client.create_model_version(self.name, self._source(path), tags=tags)
        version = _version(entity)
        try:
            self.put_alias(version)
        except BaseException:  # only champions have versions
            self._client.delete_model_version(self.name, entity.version)
            raise
        return version

    def put_alias(self, version: Version) -> None:
        """Make a version the champion."""
        self._client.set_registered_model_alias(self.name, ALIAS, str(version.number))
        logger.info("%s: version %d is the champion", self.name, version.number)

    def mark_rolled_back(self, version: Version) -> None:
        """Tag a version, so that its model is never promoted again."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._client.set_model_version_tag(self.name, str(version.number), ROLLED_BACK, now)

    def _source(self, path: Path) -> str:
        # a server refuses paths of its clients' file systems, and stores other schemes as they are
        return f"qa-assets://{path}" if self.uri.startswith("http") else str(path)


def _version(entity: Any) -> Version:
    tags = entity.tags
    return Version(
        int(entity.version), Path(tags["path"]), tags["data_version"], tags.get(ROLLED_BACK)
    )
