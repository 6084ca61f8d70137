"""Calling kernels: words handed over, jobs handed to threads."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._llvm import Kernel
from . import _pool
from ._memory import address

Job = Callable[[], None]


class Compiled:
    """A kernel's code, and how its words are handed over."""

    def __init__(self, kernel: Kernel, library: Any) -> None:
        self.kernel, self._library = kernel, library
        self._block = struct.Struct(f"{len(kernel.words)}q")
        address = library.addresses[kernel.name]
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
        self._call_holding = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(address)

    def job(self, words: Mapping[str, Any]) -> Job:
        """Return the call with these words, arrays standing for their addresses."""
        return functools.partial(self._run, self._words(words), words)

    def at_once(self, words: Mapping[str, Any]) -> None:
        """Call without letting go of the interpreter, for what takes microseconds: another thread that took
        it meanwhile might keep it for longer."""
        self._call_holding(self._words(words))

    def _words(self, words: Mapping[str, Any]) -> bytes:
        return self._block.pack(
            *[w if isinstance(w, int) else address(w) for w in map(words.__getitem__, self.kernel.words)]
        )

    def _run(self, block: bytes, keep: object) -> None:
        self._call(block)


def run_jobs(jobs: Sequence[Job], threads: int) -> None:
    """Run jobs on so many threads, the k-th thread every so manieth from the k-th on."""
    _pool.run([functools.partial(run_all, jobs[k::threads]) for k in range(min(threads, len(jobs)))])


def run_all(jobs: Sequence[Job]) -> None:
    """Run jobs one after the other."""
    for job in jobs:
        job()
