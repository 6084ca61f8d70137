"""Who works on a stream: one thread at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .._locks import ForkSafeLock


class Turn:
    """The right to work on a stream: `with turn.taken():`."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()

    def taken(self) -> AbstractContextManager[object]:
        """Return the lock to hold; RuntimeError if another thread holds it."""
        lock: Any = self._lock.lock
        if lock.locked():
            raise RuntimeError(
                "another thread uses this stream; a stream belongs to one thread at a time: "
                "let one thread step all rows, or give each thread a stream of its own"
            )
        return lock  # type: ignore[no-any-return]
