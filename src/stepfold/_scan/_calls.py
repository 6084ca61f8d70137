"""Calling kernels: words handed over, jobs handed to threads."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._llvm import Kernel
from . import _pool

Job = Callable[[], None]


class Compiled:
    """A kernel's code, and how its words are handed over."""

    def __init__(self, kernel: Kernel, library: Any) -> None:
        self.kernel, self._library = kernel, library
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.addresses[kernel.name])

    def job(self, words: Mapping[str, Any]) -> Job:
        """Return the call with these words, arrays standing for their addresses."""
        values = [
            int(w if isinstance(w, int) else w.ctypes.data) for w in map(words.__getitem__, self.kernel.words)
        ]
        block = np.array(values, np.int64)
        return functools.partial(self._run, block.ctypes.data, (block, words))

    def _run(self, address: int, keep: object) -> None:
        self._call(address)


def run_jobs(jobs: Sequence[Job], threads: int) -> None:
    """Run jobs on so many threads, the k-th thread every so manieth from the k-th on."""
    _pool.run([functools.partial(run_all, jobs[k::threads]) for k in range(min(threads, len(jobs)))])


def run_all(jobs: Sequence[Job]) -> None:
    """Run jobs one after the other."""
    for job in jobs:
        job()
