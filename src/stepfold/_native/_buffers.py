"""Memory that native code reads and writes: aligned arrays, their addresses, a bounded pool of large ones."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ALIGN = 64
POOLED = 48 << 20
"""The largest block, in bytes, that `acquire` keeps for the next to ask."""
_PATIENCE = 64  # calls that need no block, after which the free one is given back


def aligned(count: int, dtype: Any) -> Array:
    """Return an uninitialised vector of `count` elements that begins on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(count * itemsize + ALIGN, np.uint8)
    first = -raw.ctypes.data % ALIGN
    return raw[first : first + count * itemsize].view(dtype)


class _Pool:
    """One free block: fresh memory must be paged in, which takes as long as to fill it."""

    def __init__(self) -> None:
        self._free: Array | None = None
        self._unused = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> Array:
        with self._lock:
            block, self._free = self._free, None
        if block is None or not size <= block.nbytes <= 2 * size:
            block = aligned(size, np.uint8)
        return block

    def put_back(self, block: Array) -> None:
        # A finalizer may run in a thread that holds the lock: then the block is dropped.
        if block.nbytes <= POOLED and self._lock.acquire(blocking=False):
            self._free, self._unused = block, 0
            self._lock.release()

    def pass_by(self) -> None:
        if self._free is None:
            return
        with self._lock:
            self._unused += 1
            if self._unused >= _PATIENCE:
                self._free = None


_pool = _Pool()


def acquire(size: int) -> Array:
    """Return `size` uninitialised bytes on a cache line; the block that was dropped last is used again if it
    fits.

    The memory is released when the array itself is dropped: a view of it does not hold it.
    """
    block = _pool.take(size)
    acquired: Array = block[:size]
    weakref.finalize(acquired, _pool.put_back, block).atexit = False
    return acquired


def release_unused() -> None:
    """Say that a call needs no memory of `acquire`: after some of them what is free is given back."""
    _pool.pass_by()


def address(array: Array) -> int:
    """Return where an array's first element lies."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.size:  # several times faster than NumPy's own way
        buffer: Any = array
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return int(array.ctypes.data)
