"""Executors for tests: all that there are, and some that behave in ways which threads only rarely do."""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stepfold._native import Executor, calling_thread, openmp_of, own_threads, support
from stepfold._native._executor import _PARALLEL, QueueWorkers

_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_queue: list[Executor] = []


def openmp() -> Executor:
    """The executor of libgomp as PyTorch brings it; the test is skipped without."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("PyTorch is not installed")
    found = sorted((Path(spec.submodule_search_locations[0]) / "lib").glob("libgomp*"))
    if not found:
        pytest.skip("PyTorch brings no libgomp")
    ctypes.CDLL(str(found[0]))
    executor = openmp_of(str(found[0]))
    assert executor.name == "OpenMP"
    return executor


def queue_workers() -> Executor:
    """One executor with a queue for all tests: its threads never end."""
    if not _queue:
        _queue.append(QueueWorkers())
    return _queue[0]


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "calling thread": calling_thread,
    "own threads": own_threads,
    "queue": queue_workers,
    "OpenMP": openmp,
}


class Scripted(Executor):
    """An executor whose `parallel` is a function of Python's: script(body, fork, threads)."""

    name = "scripted"

    def __init__(self, script: Callable[[Callable[[int], None], int, int], None]) -> None:
        self.errors: list[BaseException] = []

        def parallel(function: int, fork: int, threads: int, flags: int) -> None:
            try:
                script(_TASK(function), fork, threads)
            except BaseException as error:
                self.errors.append(error)

        self._callback = _PARALLEL(parallel)
        self.parallel = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        code = support("program").addresses
        self.help, self.retain = _TASK(code["help"]), _TASK(code["retain"])


def elsewhere(around: Callable[[Callable[[], None]], None] = lambda body: body()) -> Scripted:
    """An executor that leaves all tasks to another thread, which runs them within `around`."""

    def script(body: Callable[[int], None], fork: int, threads: int) -> None:
        thread = threading.Thread(target=lambda: around(lambda: body(fork)))
        thread.start()
        thread.join()

    return Scripted(script)


def crowd(extra: int) -> Scripted:
    """An executor that brings more threads than were asked for."""

    def script(body: Callable[[int], None], fork: int, threads: int) -> None:
        others = [threading.Thread(target=body, args=(fork,)) for _ in range(threads - 1 + extra)]
        for thread in others:
            thread.start()
        body(fork)
        for thread in others:
            thread.join()

    return Scripted(script)


class Late(Scripted):
    """An executor whose helpers come when everything is done: `come()`."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        super().__init__(self._script)

    def _script(self, body: Callable[[int], None], fork: int, threads: int) -> None:
        for _ in range(threads - 1):
            self.retain(fork)
            self.waiting.append(fork)
        body(fork)

    def come(self) -> int:
        """Let all helpers that were asked for come; returns how many they are."""
        count = len(self.waiting)
        while self.waiting:
            self.help(self.waiting.pop())
        return count
