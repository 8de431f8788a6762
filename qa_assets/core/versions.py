"""The version of this code, for registries and manifests."""

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """The commit, with `-dirty` where files were changed since; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip() or None
