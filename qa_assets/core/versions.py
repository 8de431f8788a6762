"""Which version of this code runs, for registries and manifests."""

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """The commit of this code, with `-dirty` where it was changed since; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None
