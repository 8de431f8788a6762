"""Simulated time: the clock goes on, and is set forward by the tests."""

import time

import pytest


class Clock:
    """`time.time`, which Dagster's events have too, and so many seconds more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift, real = 0.0, time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.shift)

    def forward(self, seconds: float) -> None:
        """Let so much time pass."""
        self.shift += seconds
