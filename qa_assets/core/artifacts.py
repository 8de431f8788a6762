"""Versioned directories: where an asset's files lie, how they are written, how the newest is found.

Layout: `<root>/<asset>/<time>-<data version>/` with a `manifest.json` in each, and the symbolic
link `<root>/<asset>/latest`. A directory is written beside and renamed into place once it is whole,
so that what is half-written is never taken for an artefact. Knows nothing of Dagster or of what
the files hold.
"""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qa_assets.core.files import hash_files

MANIFEST = "manifest.json"
_MIN_FREE_BYTES = 200 * 1024**2
_ABANDONED_S = 24 * 3600


class ArtifactMissingError(LookupError):
    """There is no artefact of that asset yet."""


class DiskFullError(OSError):
    """There is no room for an artefact."""


@dataclass(frozen=True)
class Artifact:
    """One finished version of an asset."""

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
    """Versions that were removed, and those that were kept with the reason."""

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
        """Write a new version of `asset`, made from `inputs`.

        The data version is the hash of the files unless the block sets `data_version`. It becomes
        the latest at once, or else when `make_latest` is called.

        Raises:
            DiskFullError: less than `min_free_bytes` are free, or the disk ran full meanwhile.
        """
        home = self.root / asset
        home.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(home).free
        if free < min_free_bytes:
            raise DiskFullError(
                f"{asset}: {free / 1e6:,.0f} MB free under {home}, {min_free_bytes / 1e6:,.0f} MB"
                " needed: make room, or set QA_ASSETS_HOME to a larger disk"
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
                    f"{asset}: the disk is full under {home}: make room, or set QA_ASSETS_HOME to a"
                    " larger disk; nothing was changed"
                ) from error
            raise
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def latest(self, asset: str) -> Artifact:
        """The newest version of `asset`.

        Raises:
            ArtifactMissingError: there is none.
        """
        link = self.link(asset)
        if not (link / MANIFEST).is_file():
            raise ArtifactMissingError(
                f"no {asset} under {self.root}: materialise the asset `{asset}` first"
            )
        return self.read(link.resolve())

    def find(self, asset: str) -> Artifact | None:
        """The newest version of `asset`, or None."""
        try:
            return self.latest(asset)
        except ArtifactMissingError:
            return None

    def link(self, asset: str) -> Path:
        """The symbolic link to the newest version of `asset`; there need be nothing there."""
        return self.root / asset / "latest"

    def make_latest(self, artifact: Artifact) -> None:
        """Let a finished version be the one that `latest` finds, be it older than another."""
        link = self.link(artifact.asset)
        unfinished = link.with_name(f".{artifact.path.name}.link")
        unfinished.unlink(missing_ok=True)
        unfinished.symlink_to(artifact.path.name)
        os.replace(unfinished, link)  # noqa: PTH105 - replaces the link itself

    def versions(self, asset: str) -> list[Path]:
        """The directories of all finished versions of `asset`, oldest first."""
        found = (self.root / asset).glob(f"*/{MANIFEST}")
        return sorted(
            manifest.parent
            for manifest in found
            if not manifest.parent.is_symlink() and not manifest.parent.name.startswith(".")
        )

    def prune(self, keep: int) -> Pruned:
        """Remove all but the newest `keep` versions of each asset, and abandoned drafts.

        A version stays if `latest` finds it, or another artefact names it: by its data version,
        unless a newer directory has the same, or by its path.
        """
        removed: list[Path] = []
        reasons = self._kept(keep)
        while old := [path for path, why in reasons.items() if why is None]:
            for path in old:
                _remove(path)
            removed += old
            reasons = self._kept(keep)  # what is removed names nothing any more
        long_ago = time.time() - _ABANDONED_S
        for draft in self.root.glob("*/.draft-*"):
            if _newest(draft) < long_ago:
                _remove(draft)
        return Pruned(removed, {path: why for path, why in reasons.items() if why is not None})

    def _kept(self, keep: int) -> dict[Path, str | None]:
        """Why each version is to stay; None where it is not."""
        homes = sorted(self.root.iterdir()) if self.root.is_dir() else []
        assets = {home.name: self.versions(home.name) for home in homes}
        texts = {path: (path / MANIFEST).read_text() for each in assets.values() for path in each}
        manifests = {path: json.loads(text) for path, text in texts.items()}
        named_by = {
            named: path for path, one in manifests.items() for named in one["inputs"].items()
        }
        found: dict[Path, str | None] = {}
        for asset, paths in assets.items():
            newest = {manifests[path]["data_version"]: path for path in paths}
            for path in paths:
                version = manifests[path]["data_version"]
                by = named_by.get((asset, version)) if newest[version] == path else None
                by = by or next(
                    (other for other, text in texts.items() if other != path and path.name in text),
                    None,
                )
                if path == self.link(asset).resolve():
                    found[path] = "the latest"
                elif path in paths[-keep:]:
                    found[path] = f"one of the newest {keep}"
                else:
                    found[path] = f"named by {by.parent.name}/{by.name}" if by else None
        return found

    def read(self, path: Path) -> Artifact:
        """The finished version in that directory.

        Raises:
            OSError: there is none.
        """
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


def _newest(path: Path) -> float:
    """When something in a directory was last written: a training writes deep below its own."""
    try:
        return max(item.lstat().st_mtime for item in [path, *path.rglob("*")])
    except FileNotFoundError:  # it is being written to
        return time.time()


def _remove(path: Path) -> None:
    """Out of sight at once, then away: a half-removed version is never taken for a whole one."""
    hidden = path.with_name(f".draft-removed-{path.name}")
    path.rename(hidden)
    if hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        hidden.unlink()
