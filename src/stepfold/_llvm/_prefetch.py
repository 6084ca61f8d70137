"""Asking for memory while arithmetic runs.

A walk over matrices waits for those that lie in none of the nearer caches, and asking for them in the walk
does not help: a processor waits for a bounded number of cache lines at once, and a prefetch beyond that is
dropped. Products in registers read almost nothing: a cache line every few multiply-and-adds comes in beside
them."""

from __future__ import annotations

from typing import NamedTuple

from ._text import Integer, Value
from ._vectors import Vectors

_LINE = 64  # bytes of a cache line
_READ, _WRITE = 5, 4  # multiply-and-adds of vectors for each cache line
_CACHE = 2  # the nearest cache is too small


class Range(NamedTuple):
    """Memory: where it begins, and how many bytes it has."""

    start: Value
    size: Integer


class Prefetch:
    """Ranges of memory that are asked for, some cache lines at a time; made where a kernel begins."""

    def __init__(self, v: Vectors, *, write: bool = False) -> None:
        self._v, self._f, self._write = v, v.function, write
        self._next, self._end, self._then, self._until = (self._f.emit("ptr", "alloca ptr") for _ in range(4))

    def begin(self, first: Range, second: Range) -> None:
        """Begin with a range; the second one follows, again and again."""
        f = self._f
        for (start, size), begin, end in (
            (first, self._next, self._end),
            (second, self._then, self._until),
        ):
            f.store(start, begin, 8)
            f.store(f.offset(start, size, "i8"), end, 8)

    def beside(self, products: int) -> None:
        """Ask for as many cache lines as come in while so many multiply-and-adds of vectors are done."""
        f = self._f
        at, end, then, until = (
            f.load("ptr", place, 8) for place in (self._next, self._end, self._then, self._until)
        )
        lines = max(1, products // (_WRITE if self._write else _READ))
        for k in range(lines):
            self._v.prefetch(f.offset(at, k * _LINE, "i8"), write=self._write, level=_CACHE)
        after = f.offset(at, lines * _LINE, "i8")
        more = f.emit("i1", f"icmp ult {after}, {end.name}")
        f.store(f.select(more, after, then), self._next, 8)
        f.store(f.select(more, end, until), self._end, 8)
