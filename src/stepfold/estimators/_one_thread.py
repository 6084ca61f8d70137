"""What a process does that trains beside others: one thread, and memory that stays."""

import ctypes
import sys

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC", "PJRT_NPROC")
"""What tells stepfold, NumPy's BLAS and XLA that a process has one thread."""
_MEMORY = {-4: 0, -1: 2**31 - 1, -2: 2**26}
"""glibc's M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD: no block is a mapping of its own, none is given back."""


def keep_memory() -> None:
    """Let glibc keep the memory that is freed.

    XLA allocates its buffers anew in every step; where they come from the system each time, a third of the
    training's time are page faults.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in _MEMORY.items():
            mallopt(option, value)
