"""Calling kernels: words handed over, jobs handed to threads."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._llvm import Kernel
from . import _pool

Job = Callable[[], None]


class Compiled:
    """A kernel's code, and how its words are handed over."""

    def __init__(self, kernel: Kernel, library: Any) -> None:
        self.kernel, self._library = kernel, library
        self._block = struct.Struct(f"{len(kernel.words)}q")
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.addresses[kernel.name])

    def job(self, words: Mapping[str, Any]) -> Job:
        """Return the call with these words, arrays standing for their addresses."""
        values = [
            w if isinstance(w, int) else w.ctypes.data for w in map(words.__getitem__, self.kernel.words)
        ]
        return functools.partial(self._run, self._block.pack(*values), words)

    def _run(self, block: bytes, keep: object) -> None:
        self._call(block)


def run_jobs(jobs: Sequence[Job], threads: int) -> None:
    """Run jobs on so many threads, the k-th thread every so manieth from the k-th on."""
    _pool.run([functools.partial(run_all, jobs[k::threads]) for k in range(min(threads, len(jobs)))])


def run_all(jobs: Sequence[Job]) -> None:
    """Run jobs one after the other."""
    for job in jobs:
        job()
