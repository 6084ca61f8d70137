"""Threads that share one row: each rank has a part of the units; all wait at a barrier wherever the whole row
is needed.

A barrier counts: who arrives adds one and waits until all have. It takes a fraction of a microsecond while
every thread has a processor; one that has none is let in by `sched_yield`."""

from __future__ import annotations

from dataclasses import dataclass

from ._control import wait
from ._text import Function, Integer, Value


@dataclass(frozen=True)
class Ranks:
    """A kernel's view of the threads that share its work: its own rank, how many there are, the barrier."""

    f: Function
    rank: Value
    ranks: Value
    barrier: Value
    architecture: str

    def part(self, count: Integer) -> tuple[Value, Value]:
        """Where this rank's part of a range [0, count) begins and ends."""
        f = self.f
        begin = f.emit("i64", f"udiv {f.integer(f.mul(self.rank, count))}, {self.ranks.name}")
        end = f.mul(f.add(self.rank, 1), count)
        return begin, f.emit("i64", f"udiv {end}, {self.ranks.name}")

    def wait(self) -> None:
        """Wait until every rank has come here."""
        f = self.f
        before = f.emit("i64", f"atomicrmw add {self.barrier}, i64 1 acq_rel")
        generation = f.emit("i64", f"udiv {before}, {self.ranks.name}")
        wanted = f.mul(f.add(generation, 1), self.ranks)

        def all_here() -> Value:
            now = f.emit("i64", f"load atomic i64, {self.barrier} acquire, align 8")
            return f.compare("sge", now, wanted)

        wait(f, all_here, self.architecture)
