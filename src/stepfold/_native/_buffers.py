"""Memory that native code reads and writes: aligned arrays, their addresses, a bounded pool of large ones."""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ALIGN = 64
POOLED = 48 << 20
"""How many bytes of free blocks `acquire` keeps for the next to ask."""
FRESH = 1 << 20
"""Bytes from which on memory that was used before is worth looking for."""
_PATIENCE = 64  # calls that need no block, after which the free one is given back


def aligned(count: int, dtype: Any) -> Array:
    """Return an uninitialised vector of `count` elements that begins on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(count * itemsize + ALIGN, np.uint8)
    first = -raw.ctypes.data % ALIGN
    return raw[first : first + count * itemsize].view(dtype)


class _Pool:
    """Free blocks, the last dropped at the right end: fresh memory must be paged in, as slow as to
    fill it. There is no lock, only atomic operations of a deque: a finalizer may run anywhere."""

    def __init__(self) -> None:
        self._free: deque[Array] = deque()
        self._unused = 0

    def take(self, size: int) -> Array:
        self._unused = 0
        with contextlib.suppress(IndexError):  # another thread may be faster
            for _ in range(len(self._free)):
                block = self._free.pop()
                if size <= block.nbytes <= 2 * size:
                    return block
                self._free.appendleft(block)
        return aligned(size, np.uint8)

    def put_back(self, block: Array) -> None:
        self._free.append(block)
        with contextlib.suppress(IndexError):
            while sum(free.nbytes for free in self._free.copy()) > POOLED:
                self._free.popleft()

    def pass_by(self) -> None:
        self._unused += 1
        if self._unused >= _PATIENCE:
            self._free.clear()


_pool = _Pool()


def acquire(shape: int | tuple[int, ...], dtype: Any = np.uint8) -> Array:
    """Return an uninitialised array. A large one lies in memory that was used before, if there is a block
    that fits, and gives it back when the array itself is dropped: a view of it does not hold the memory."""
    count, dtype = math.prod(shape) if isinstance(shape, tuple) else shape, np.dtype(dtype)
    size = count * dtype.itemsize
    if size < FRESH:
        return np.empty(shape, dtype)
    block = _pool.take(size)
    acquired: Array = block[:size].view(dtype).reshape(shape)
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
