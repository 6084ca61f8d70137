"""Threads that wait for work: a kernel call lets go of the interpreter, so Python's own threads are enough.

A thread that is woken is often put on the processor of the one that woke it, and then waits for it while
another processor idles; so each is sent to a processor of its own first, and is free to move from there."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Job = Callable[[], None]


class _Batch:
    """Jobs handed out together: how many are unfinished, and the first error."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self._done = threading.Lock()
        self._done.acquire()
        self.error: BaseException | None = None

    def run(self, job: Job) -> None:
        try:
            job()
        except BaseException as error:
            self.error = error
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._done.release()

    def wait(self) -> None:
        self._done.acquire()
        if self.error is not None:
            raise self.error


class _Worker:
    """A thread with a queue of its own."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[_Batch, Job, set[int]]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stepfold", daemon=True)
        self._thread.start()

    def take(self, batch: _Batch, job: Job, processor: int | None, allowed: set[int]) -> None:
        """Run a job, beginning on a processor, then on any of those allowed."""
        if processor is not None and self._thread.native_id is not None:
            _set_processors(self._thread.native_id, {processor})
        self._queue.put((batch, job, allowed))

    def _work(self) -> None:
        while True:
            batch, job, allowed = self._queue.get()
            if allowed:
                _set_processors(0, allowed)
            batch.run(job)
            del batch, job


class _Pool:
    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs, the first on this thread; return when all are done."""
        if len(jobs) == 1:
            jobs[0]()
            return
        here = _this_processor()
        allowed = _allowed() if here is not None else set()
        others = sorted(allowed - {here})
        workers = [self._worker() for _ in jobs[1:]]
        batch = _Batch(len(jobs))
        for k, (worker, job) in enumerate(zip(workers, jobs[1:], strict=True)):
            worker.take(batch, job, others[k % len(others)] if others else None, allowed if others else set())
        batch.run(jobs[0])
        try:
            batch.wait()
        finally:
            self._idle += workers

    def _worker(self) -> _Worker:
        try:
            return self._idle.pop()
        except IndexError:
            return _Worker()


def _libc_sched_getcpu() -> Callable[[], int] | None:
    try:
        found: Callable[[], int] = ctypes.CDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):
        return None
    return found if hasattr(os, "sched_setaffinity") else None


_sched_getcpu = _libc_sched_getcpu()


def _this_processor() -> int | None:
    """The processor that this thread is on, None where the system does not say."""
    return None if _sched_getcpu is None else _sched_getcpu()


def _allowed() -> set[int]:
    return os.sched_getaffinity(0)


def _set_processors(thread: int, processors: set[int]) -> None:
    try:
        os.sched_setaffinity(thread, processors)
    except OSError:
        # the processors changed in between; the system's own choice is then as good
        return


_pool = _Pool()


def _renew() -> None:
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def run(jobs: Sequence[Job]) -> None:
    """Run jobs side by side and return when all are done; the first error, if any, is raised here."""
    if jobs:
        _pool.run(jobs)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
