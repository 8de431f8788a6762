"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], bool], seconds: float = 20, log: Path | None = None) -> None:
    """Wait until the condition holds; the test fails after so long, and shows the log."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text() if log else ""
        time.sleep(0.02)
