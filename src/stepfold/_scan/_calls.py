"""Calling kernels: words handed over, several calls made one, jobs handed to threads."""

from __future__ import annotations

import ctypes
import functools
import itertools
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._llvm import SMALL, Kernel, load, target
from . import _pool
from ._memory import address

Job = Callable[[], None]


class Compiled:
    """A kernel's code, and how its words are handed over."""

    def __init__(self, kernel: Kernel, library: Any) -> None:
        self.kernel, self._library = kernel, library
        self.address: int = library.addresses[kernel.name]
        self._block = struct.Struct(f"{len(kernel.words)}q")
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)
        self._call_holding = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(self.address)

    def job(self, words: Mapping[str, Any]) -> Job:
        """Return the call with these words, arrays standing for their addresses."""
        return functools.partial(self._run, self._block.pack(*self.values(words)), words)

    def at_once(self, words: Mapping[str, Any]) -> None:
        """Call without letting go of the interpreter, for what takes microseconds: another thread that took
        it meanwhile might keep it for longer."""
        self._call_holding(self._block.pack(*self.values(words)))

    def values(self, words: Mapping[str, Any]) -> list[int]:
        """The words in the kernel's order, as numbers."""
        return [w if isinstance(w, int) else address(w) for w in map(words.__getitem__, self.kernel.words)]

    def _run(self, block: bytes, keep: object) -> None:
        self._call(block)


class Call(NamedTuple):
    """A kernel and its words, arrays standing for their addresses."""

    kernel: Compiled
    words: Mapping[str, Any]


def chain(calls: Sequence[Call]) -> Job:
    """Return the calls, one after the other, as one job: in between the thread need not wait until it is
    Python's turn again."""
    blocks = [call.kernel.values(call.words) for call in calls]
    at = 2 * len(calls)
    memory = np.empty(at + sum(map(len, blocks)), np.int64)
    first, head = address(memory), []
    for call, block in zip(calls, blocks, strict=True):
        head += [call.kernel.address, first + 8 * at]
        at += len(block)
    struct.pack_into(f"{at}q", memory.data, 0, *head, *itertools.chain(*blocks))
    return small("chain").job({"count": len(calls), "calls": memory, "held": calls})


def run_chains(chains: Sequence[Sequence[Call]]) -> None:
    """Make the calls of each chain one after the other, every chain on a thread of its own."""
    _pool.run([chain(calls) for calls in chains])


def clearing(first: int, size: int) -> Call:
    """The call that writes zeros over so many bytes from an address on."""
    return Call(small("clear"), {"target": first, "bytes": size})


_lock = threading.Lock()


@functools.cache
def _small(name: str) -> Compiled:
    on = target()
    kernel, library, _ = load(f"small {name}", on, lambda: SMALL[name](on))
    return Compiled(kernel, library)


def small(name: str) -> Compiled:
    """A small kernel, compiled once."""
    with _lock:
        return _small(name)
