"""Loading machine code in an address space with little room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepfold._native import support

# Fills every gap of the address space, then frees single pages high up. An object's constants fit there, its
# code only gigabytes below.
CROWDED = """
import ctypes
import numpy as np
from stepfold import cells, scan

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_size_t]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PRIVATE_ANONYMOUS_NORESERVE, GIB, PAGE = 0x4022, 1 << 30, 4096


def reserve(size):
    return libc.mmap(None, size, 0, PRIVATE_ANONYMOUS_NORESERVE, -1, 0)


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
@pytest.mark.skipif("STEPFOLD_EMULATED" in os.environ, reason="qemu takes 22 GB for a crowded address space")
def test_code_and_constants_are_never_placed_far_apart(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CROWDED],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},  # nothing is cached, so kernels are compiled
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads how memory is mapped as Linux tells it")
def test_code_is_never_in_memory_that_can_be_written() -> None:
    addresses = [address for name in ("program", "whole") for address in support(name).addresses.values()]
    for address in addresses:
        for line in Path("/proc/self/maps").read_text().splitlines():
            bounds, mode = line.split()[:2]
            begin, end = (int(bound, 16) for bound in bounds.split("-"))
            if begin <= address < end:
                variable = address == support("program").addresses["stepfold_pool"]
                assert mode == ("rw-p" if variable else "r-xp")
                break
        else:
            pytest.fail(f"{address:#x} is not mapped")
