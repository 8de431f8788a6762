"""How a training uses a CPU: threads of OpenMP that wait, and memory that is freed.

OpenMP and glibc read the environment when a process starts, so it is set by whoever starts it.
"""

import ctypes
import sys

THREADS = {
    # threads of torch that wait would spin while Spark needs the cores: five times slower beside it
    "OMP_WAIT_POLICY": "PASSIVE",
    # but not sleep at once: a training is 12 % slower where each operation wakes them
    "GOMP_SPINCOUNT": "3000",
}
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """Have the memory of freed tensors used for the next ones.

    glibc returns large blocks to the kernel, which clears every page of the next one: a twentieth
    of a training's CPU time. Other platforms are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        # the second is the most that glibc before 2.35 takes
        mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
