"""Programs remembered by what they were recorded for: a bounded number, the least recently used ones go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from .._locks import ForkSafeLock
from .._native import Program

MOST_PROGRAMS = 512
MOST_BYTES = 1 << 26
"""How many programs are remembered, and how many bytes they may take."""


class Programs:
    """A bounded table of programs. One that goes is dropped when its last call has returned, for the caller
    holds it."""

    def __init__(self, most: int = MOST_PROGRAMS, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._known: OrderedDict[Hashable, Program] = OrderedDict()
        self._bytes = 0
        self._lock = ForkSafeLock()

    def items(self) -> list[tuple[Hashable, Program]]:
        """The programs that are known, with what each was recorded for."""
        with self._lock.lock:
            return list(self._known.items())

    def __len__(self) -> int:
        return len(self._known)

    @property
    def nbytes(self) -> int:
        """How many bytes the programs take."""
        return self._bytes

    def get(self, key: Hashable, record: Callable[[], Program]) -> Program:
        """Return the program of a key, recorded if it is not known."""
        with self._lock.lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        made = record()  # two threads may both record one: either will do
        with self._lock.lock:
            known = self._known.setdefault(key, made)
            if known is made:
                self._bytes += made.nbytes
            while len(self._known) > self._most or (self._bytes > self._most_bytes and len(self._known) > 1):
                _, gone = self._known.popitem(last=False)
                self._bytes -= gone.nbytes
        return known


programs = Programs()
