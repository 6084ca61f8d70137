"""Memory that kernels work in, and addresses handed to them."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_ALIGN = 64


def aligned(count: int, dtype: Any) -> Array:
    """An uninitialised vector that begins on a cache line."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(count * itemsize + _ALIGN, np.uint8)
    first = -raw.ctypes.data % _ALIGN
    return raw[first : first + count * itemsize].view(dtype)


_spare: list[Array] = []
_SPARED = 1 << 28  # bytes of the largest block that is kept for the next to ask


def lend(count: int, dtype: Any) -> Array:
    """Like `aligned`, but the block dropped last is lent again if it fits: fresh memory must be paged in,
    which takes as long as to fill it.

    The memory is lent until the array itself is dropped: a view of it does not hold it.
    """
    size = count * np.dtype(dtype).itemsize
    try:
        block = _spare.pop()
    except IndexError:
        block = aligned(size, np.uint8)
    if not size <= block.nbytes <= 2 * size:
        block = aligned(size, np.uint8)
    lent: Array = block[:size].view(dtype)
    weakref.finalize(lent, _give_back, block).atexit = False
    return lent


def _give_back(block: Array) -> None:
    if block.nbytes <= _SPARED:
        _spare[:] = [block]


def address(array: Array) -> int:
    """Where an array's first number lies."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.size:  # several times faster than NumPy's own way
        buffer: Any = array
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return int(array.ctypes.data)


class Address(int):
    """The address of an array, which it keeps alive."""

    array: Array

    def __new__(cls, array: Array) -> Address:
        """Take an array's address."""
        made = super().__new__(cls, address(array))
        made.array = array
        return made


class Space:
    """Working memory by name: kept from one call to the next, so that it is neither cleared nor paged in
    again."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._held: dict[str, tuple[Array, Address]] = {}

    def take(self, name: str, count: int) -> Array:
        """At least `count` numbers, with whatever they held."""
        return self._take(name, count)[0]

    def at(self, name: str, count: int) -> Address:
        """The address of what `take` gives."""
        return self._take(name, count)[1]

    def _take(self, name: str, count: int) -> tuple[Array, Address]:
        found = self._held.get(name)
        if found is None or len(found[0]) < count:
            array = aligned(max(1, count), self.dtype)
            found = self._held[name] = array, Address(array)
        return found
