"""The threads that run a program's tasks: our own, or those of a host.

An executor is the address of a native function with the interface of OpenMP's `GOMP_parallel`: it runs a
function on this thread and on others, and what it needs besides is `host`. A program's tasks are claimed one
by one, so any number of threads that turn up will do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from queue import SimpleQueue
from typing import Any

import numpy as np

from .._llvm import PROCESSOR_WORDS, WORKER, support_names, target
from .._processors import processors
from ._buffers import address, aligned
from ._kernels import support

_MOST_WORKERS = 255
_PARALLEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Executor:
    """Where a program's tasks run: `name`, and what native code is told, `parallel` (0: nowhere but on the
    calling thread) and `host`."""

    name = "calling thread"
    parallel = 0
    host = 0

    def prepare(self, threads: int) -> None:
        """Make ready for so many threads, the caller's among them."""


class FutexWorkers(Executor):
    """Python's threads in native code that they never leave: each waits on a futex (Linux)."""

    name = "own threads"

    def __init__(self) -> None:
        code = support("workers")
        self.parallel = code.addresses["parallel"]
        self._help = support("program").addresses["help"]
        serve = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        self._serve = serve(code.addresses["serve"])
        self._lock = threading.Lock()
        # a worker may look at its memory as long as the process runs: it is never given back
        self._workers: list[Any] = []
        self._table = aligned(2 + _MOST_WORKERS, np.int64)
        self._table[:] = 0
        self._table[1] = self._help
        self.host = address(self._table)
        _forever.append(self)

    def prepare(self, threads: int) -> None:
        """Start workers until there are enough."""
        if len(self._workers) >= threads - 1:
            return
        with self._lock:
            while len(self._workers) < min(threads - 1, _MOST_WORKERS):
                self._start()

    def _start(self) -> None:
        worker = aligned(len(WORKER) + PROCESSOR_WORDS, np.int64)
        worker[:] = 0
        ready = threading.Event()

        def serve() -> None:
            worker[WORKER.index("thread")] = threading.get_native_id()
            ready.set()
            self._serve(address(worker), self._help)

        threading.Thread(target=serve, name="stepfold", daemon=True).start()
        ready.wait()
        self._workers.append(worker)
        self._table[1 + len(self._workers)] = address(worker)
        self._table[0] = len(self._workers)


class QueueWorkers(Executor):
    """Python's threads that wait at a queue, where there is no futex: they wake more slowly."""

    name = "own threads"

    def __init__(self) -> None:
        program = support("program").addresses
        self._help, self._retain = _TASK(program["help"]), _TASK(program["retain"])
        self._queue: SimpleQueue[int] = SimpleQueue()
        self._lock = threading.Lock()
        self._workers = 0
        self._callback = _PARALLEL(self._share)
        self.parallel = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        _forever.append(self)

    def prepare(self, threads: int) -> None:
        """Start workers until there are enough."""
        with self._lock:
            while self._workers < min(threads - 1, _MOST_WORKERS):
                threading.Thread(target=self._work, name="stepfold", daemon=True).start()
                self._workers += 1

    def _share(self, function: int, fork: int, threads: int, flags: int) -> None:
        for _ in range(threads - 1):
            self._retain(fork)
            self._queue.put(fork)
        _TASK(function)(fork)

    def _work(self) -> None:
        while True:
            self._help(self._queue.get())


class OpenMP(Executor):
    """The team of the OpenMP runtime that a library has loaded: its threads are awake, and no others fight
    them for the processors."""

    name = "OpenMP"

    def __init__(self, parallel: int) -> None:
        self.parallel = parallel
        _forever.append(self)


_forever: list[Executor] = []  # native code may still hold their addresses
_CALLER = Executor()


class _Executors:
    """The executors of this process; a forked child has none of its parent's threads."""

    def __init__(self) -> None:
        self.forked = False
        self.own: Executor | None = None
        self.openmp: dict[str, Executor | None] = {}
        self.lock = threading.Lock()


_executors = _Executors()


def own_threads() -> Executor:
    """Return the executor with threads of our own, started when they are first wanted."""
    found = _executors.own
    if found is None:
        with _executors.lock:
            found = _executors.own = _executors.own or _own()
    return found


def _own() -> Executor:
    return FutexWorkers() if "workers" in support_names(target()) else QueueWorkers()


def calling_thread() -> Executor:
    """Return the executor that has no thread but the caller's."""
    return _CALLER


def openmp_of(library: str) -> Executor:
    """Return the executor of the OpenMP runtime that a loaded library uses; own threads if it uses none, and
    in a forked child, where that runtime hangs."""
    if _executors.forked:
        return own_threads()
    if library not in _executors.openmp:
        _executors.openmp[library] = _find_openmp(library)
    return _executors.openmp[library] or own_threads()


def _find_openmp(library: str) -> Executor | None:
    if not hasattr(os, "RTLD_NOLOAD"):
        return None
    with contextlib.suppress(OSError, AttributeError):
        # a name is looked up in what the library depends on, too; LLVM's and Intel's runtime have it as well
        found = ctypes.CDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_NOW).GOMP_parallel
        return OpenMP(ctypes.cast(found, ctypes.c_void_p).value or 0)
    return None


def thread_cap(wanted: int | None = None, most: int | None = None) -> int:
    """Return how many threads may run: those wanted, at most those of the host (`most`) and the processors
    that this process may use. TypeError or ValueError if `wanted` is no positive integer."""
    if wanted is not None:
        if isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)):
            raise TypeError(f"threads must be an integer, not {wanted!r}")
        if wanted < 1:
            raise ValueError(f"threads must be at least 1, not {wanted}")
    bounds = [bound for bound in (wanted, most, processors(), _MOST_WORKERS) if bound is not None]
    return max(1, min(map(int, bounds)))


def _after_fork() -> None:
    global _executors
    # who holds one of them still has an executor: this thread alone, for there are no others
    for executor in _forever:
        executor.parallel = 0
    _executors = _Executors()
    _executors.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
