"""Memory that a training frees is used again."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from qa_assets.training.cpu import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for number in range(12):
    if number == 6:  # the heap has grown to what is needed
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(10_000_000) for _ in range(4)]  # 40 MB each
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of tensors of sizes allocated before, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_used_again() -> None:
    assert faults("keep") < faults("return") / 10
