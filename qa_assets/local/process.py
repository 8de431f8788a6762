"""Child processes that never outlive this one: how the broker and the jar resolver are run."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# looked up here, since little may be done between fork and exec
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def start(
    command: Sequence[str | Path], log: Path | None, orphaned: signal.Signals = signal.SIGTERM
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, its output appended to `log` or, without, ours.

    Ctrl-C in the terminal does not reach it, so that whoever started it can stop it in order. On
    Linux the kernel sends it `orphaned` when this process ends, whatever the reason; strictly, when
    the *thread* ends that called this, which therefore has to stay.

    Raises:
        OSError: the command cannot be run or the log cannot be written.
    """
    with log.open("ab") if log else nullcontext() as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
            preexec_fn=_end_with(os.getpid(), orphaned),  # noqa: PLW1509  system calls, nothing that locks
        )


def stop(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """End a process: SIGTERM, and SIGKILL where it is still there after `grace_s` seconds."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with(parent: int, orphaned: signal.Signals) -> Callable[[], None]:
    def ask_kernel() -> None:
        # a shell's background job ignores it, and so would all that is to be ended by it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, orphaned)
            if os.getppid() != parent:  # it ended before it was asked for
                os._exit(1)

    return ask_kernel
