"""Loading machine code where memory is crowded."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Every gap between what is mapped is filled; then single pages are freed high up, so that an object's
# constants fit there and its code only gigabytes below.
CROWDED = """
import ctypes
import numpy as np
from stepfold import cells, scan
from stepfold._llvm import _cache

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_size_t]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PRIVATE_ANONYMOUS_NORESERVE, GIB, PAGE = 0x4022, 1 << 30, 4096


def reserve(size):
    return libc.mmap(None, size, 0, PRIVATE_ANONYMOUS_NORESERVE, -1, 0)


_cache._path = lambda key: None  # compile, whatever is kept
params = cells.lstm.init(5, 40, seed=0, dtype="float32")
inputs = np.ones((3, 4, 5), "float32")
wall = reserve(8 * GIB)
size = GIB
while size >= PAGE:
    at = reserve(size)
    if at < wall:
        libc.munmap(at, size)
        size //= 2
for k in range(1, 100):
    libc.munmap(wall + 8 * GIB - k * 16 * PAGE, PAGE)
print(np.isfinite(scan(cells.lstm, inputs, params)).all())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="maps memory as Linux does")
def test_code_and_constants_far_apart_are_never_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CROWDED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
