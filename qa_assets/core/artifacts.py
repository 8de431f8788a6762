"""The artefact store: versioned directories of files, one artefact for each version of an asset.

Layout: `<root>/<asset>/<time>-<data version>/` with a `manifest.json` in each, and the symbolic
link `<root>/<asset>/latest`. A draft is renamed into place when it is complete, so that a half-
written directory is never read. Knows nothing of Dagster or of what the files hold.
"""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qa_assets.core.files import hash_files

MANIFEST = "manifest.json"
_MIN_FREE_BYTES = 200 * 1024**2
_ABANDONED_S = 24 * 3600
_MAKE_ROOM = "make room, or set QA_ASSETS_HOME to a larger disk"


class ArtifactMissingError(LookupError):
    """An asset has no artefact yet."""


class DiskFullError(OSError):
    """The disk has no room for an artefact."""


@dataclass(frozen=True)
class Artifact:
    """A finished version of an asset; `inputs` are data versions by asset."""

    asset: str
    path: Path
    data_version: str
    info: Mapping[str, Any]
    inputs: Mapping[str, str]


@dataclass
class Draft:
    """An artefact being written: put files under `path`, facts into `info`."""

    asset: str
    path: Path
    info: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    data_version: str | None = None
    artifact: Artifact | None = None

    def done(self) -> Artifact:
        """The finished artefact, once the `with` block has ended."""
        if self.artifact is None:
            raise RuntimeError(f"{self.asset} is still being written")
        return self.artifact


@dataclass(frozen=True)
class Pruned:
    """Versions that were removed, and the reason for each that was kept."""

    removed: list[Path]
    kept: dict[Path, str]


class ArtifactStore:
    """The artefacts below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def write(
        self,
        asset: str,
        *inputs: Artifact,
        min_free_bytes: int = _MIN_FREE_BYTES,
        make_latest: bool = True,
    ) -> Iterator[Draft]:
        """Write a new version of `asset`, and make it the latest unless `make_latest` is false.

        The data version is the hash of the files unless the block sets `data_version`; those of
        `inputs` go into the manifest.

        Raises:
            DiskFullError: less than `min_free_bytes` are free, or the disk ran full meanwhile.
        """
        home = self.root / asset
        home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
        if free < min_free_bytes:
            raise DiskFullError(
                f"{asset}: {free / 1e6:,.0f} MB free under {home}, {min_free_bytes / 1e6:,.0f} MB"
                f" needed: {_MAKE_ROOM}"
            )
        path = Path(tempfile.mkdtemp(prefix=".draft-", dir=home))
        path.chmod(0o755)
        draft = Draft(asset, path, inputs={item.asset: item.data_version for item in inputs})
        try:
            yield draft
            draft.artifact = self._finish(draft)
            if make_latest:
                self.make_latest(draft.artifact)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DiskFullError(
                    f"{asset}: the disk is full under {home}: {_MAKE_ROOM}; nothing was changed"
                ) from error
            raise
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def latest(self, asset: str) -> Artifact:
        """The latest version of `asset`, or an ArtifactMissingError."""
        link = self.link(asset)
        if not (link / MANIFEST).is_file():
            raise ArtifactMissingError(
                f"no {asset} under {self.root}: materialise the asset `{asset}` first"
            )
        return self.read(link.resolve())

    def find(self, asset: str) -> Artifact | None:
        """The latest version of `asset`, or None."""
        with suppress(ArtifactMissingError):
            return self.latest(asset)
        return None

    def link(self, asset: str) -> Path:
        """The symbolic link to the latest version of `asset`, whether there is one or not."""
        return self.root / asset / "latest"

    def make_latest(self, artifact: Artifact) -> None:
        """Point the link at a finished version, which need not be the newest."""
        link = self.link(artifact.asset)
        unfinished = link.with_name(f".{artifact.path.name}.link")
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(artifact.path.name)
        os.replace(unfinished, link)  # noqa: PTH105 - replaces the link itself

    def versions(self, asset: str) -> list[Path]:
        """The directories of all finished versions of `asset`, oldest first."""
        paths = [manifest.parent for manifest in (self.root / asset).glob(f"[!.]*/{MANIFEST}")]
        return sorted(path for path in paths if not path.is_symlink())

    def prune(self, keep: int) -> Pruned:
        """Remove all but the newest `keep` versions of each asset, and abandoned drafts.

        The latest version stays, and so does one that another artefact names: by its data version,
        unless a newer directory has the same, or by its path.
        """
        removed: list[Path] = []
        # again after each removal: removed versions name nothing any more
        while old := [path for path, why in self._reasons_to_keep(keep).items() if why is None]:
            for path in old:
                _remove(path)
            removed += old
        reasons = self._reasons_to_keep(keep)
        for draft in self.root.glob("*/.draft-*"):
            if _last_write(draft) < time.time() - _ABANDONED_S:
                _remove(draft)
        return Pruned(removed, {path: reason for path, reason in reasons.items() if reason})

    def _reasons_to_keep(self, keep: int) -> dict[Path, str | None]:
        """Why each version stays; None where it does not."""
        versions = {home.name: self.versions(home.name) for home in sorted(self.root.glob("*"))}
        artifacts = [self.read(path) for paths in versions.values() for path in paths]
        texts = {artifact.path: (artifact.path / MANIFEST).read_text() for artifact in artifacts}
        newest = {(artifact.asset, artifact.data_version): artifact.path for artifact in artifacts}
        users = {key: artifact.path for artifact in artifacts for key in artifact.inputs.items()}
        reasons: dict[Path, str | None] = {}
        for artifact in artifacts:
            path, key = artifact.path, (artifact.asset, artifact.data_version)
            by_path = (user for user, text in texts.items() if user != path and path.name in text)
            user = (users.get(key) if newest[key] == path else None) or next(by_path, None)
            if path == self.link(artifact.asset).resolve():
                reasons[path] = "the latest"
            elif path in versions[artifact.asset][-keep:]:
                reasons[path] = f"one of the newest {keep}"
            else:
                reasons[path] = f"named by {user.parent.name}/{user.name}" if user else None
        return reasons

    def read(self, path: Path) -> Artifact:
        """The finished version in a directory, or an OSError."""
        manifest = json.loads((path / MANIFEST).read_text())
        return Artifact(
            manifest["asset"], path, manifest["data_version"], manifest["info"], manifest["inputs"]
        )

    def _finish(self, draft: Draft) -> Artifact:
        version = draft.data_version or hash_files(draft.path)
        now = datetime.now(UTC)
        manifest = {
            "asset": draft.asset,
            "data_version": version,
            "created": now.isoformat(timespec="seconds"),
            "inputs": draft.inputs,
            "info": draft.info,
        }
        (draft.path / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        final = draft.path.parent / f"{now:%Y%m%dT%H%M%S%f}-{version[:8]}"
        draft.path.rename(final)
        return self.read(final)


def _last_write(path: Path) -> float:
    """When anything below a directory was last written: trainings write deep inside a draft."""
    try:
        return max(item.lstat().st_mtime for item in [path, *path.rglob("*")])
    except FileNotFoundError:  # it is being written to
        return time.time()


def _remove(path: Path) -> None:
    """Hide a version, then delete it: a half-deleted one is never read."""
    hidden = path.with_name(f".draft-removed-{path.name}")
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
