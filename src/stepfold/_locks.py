"""Locks that a forked child gets anew: the thread that holds one in the parent does not exist in the
child."""

from __future__ import annotations

import os
import threading
import weakref


class ForkSafeLock:
    """`lock` is a lock, or (`reentrant`) one that a thread may take again; in a forked child it is free.

    To be used as `with a.lock:`, which no interruption can leave taken.
    """

    def __init__(self, *, reentrant: bool = False) -> None:
        self._make = threading.RLock if reentrant else threading.Lock
        self.renew()
        _locks.add(self)

    def renew(self) -> None:
        """Take a new lock, which nobody holds."""
        self.lock = self._make()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
