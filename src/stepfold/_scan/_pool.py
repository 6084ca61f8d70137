"""Threads that wait for work: a kernel call lets go of the interpreter, so Python's own threads are
enough."""

from __future__ import annotations

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


class _Pool:
    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[_Batch, Job]] = SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs, the first on this thread; return when all are done."""
        if len(jobs) == 1:
            jobs[0]()
            return
        with self._lock:
            while self._threads < len(jobs) - 1:
                self._threads += 1
                threading.Thread(target=self._work, name=f"stepfold-{self._threads}", daemon=True).start()
        batch = _Batch(len(jobs))
        for job in jobs[1:]:
            self._queue.put((batch, job))
        batch.run(jobs[0])
        batch.wait()

    def _work(self) -> None:
        while True:
            batch, job = self._queue.get()
            batch.run(job)
            del batch, job


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
