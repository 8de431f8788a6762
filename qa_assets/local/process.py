"""Child processes that end with this one."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# looked up here: between fork and exec little is safe
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def start(
    command: Sequence[str | Path], log: Path | None, orphaned: signal.Signals = signal.SIGTERM
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, which Ctrl-C in the terminal does not reach.

    Args:
        command: with its arguments.
        log: to append its output to; None: this process's output.
        orphaned: the signal that Linux sends it when the calling thread ends for any reason.

    Raises:
        OSError: the command cannot be run or the log cannot be written.
    """
    parent = os.getpid()

    def end_with_parent() -> None:
        # background jobs of a shell ignore it, and their children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, orphaned)
            if os.getppid() != parent:  # the parent ended before
                os._exit(1)

    with log.open("ab") if log else nullcontext() as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509  system calls, nothing that locks
        )


def stop(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """End a process by SIGTERM, and by SIGKILL if it is still there after `grace_s` seconds."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
