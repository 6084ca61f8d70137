"""Threads that share one row: each takes a part of the units; all meet wherever the whole row is needed.

They meet by counting: who arrives adds one and waits until all have. It takes a fraction of a microsecond
while every thread has a processor; one that has none is let in by `sched_yield`."""

from __future__ import annotations

from dataclasses import dataclass

from ._text import Function, Integer, Value

TEAM_WORDS = ("member", "members", "counter")
_PATIENCE = 1023  # turns of waiting, less one a power of two, after which another thread may run


@dataclass(frozen=True)
class Team:
    """A kernel's view of its team: its own number, how many there are, the address of the count."""

    f: Function
    member: Value
    members: Value
    counter: Value

    def part(self, count: Integer) -> tuple[Value, Value]:
        """Where this member's part of so many things begins and ends."""
        f = self.f
        begin = f.emit("i64", f"udiv {f.integer(f.mul(self.member, count))}, {self.members.name}")
        end = f.mul(f.add(self.member, 1), count)
        return begin, f.emit("i64", f"udiv {end}, {self.members.name}")

    def meet(self) -> None:
        """Wait until every member has come here."""
        f = self.f
        before = f.emit("i64", f"atomicrmw add {self.counter}, i64 1 acq_rel")
        meeting = f.emit("i64", f"udiv {before}, {self.members.name}")
        wanted = f.mul(f.add(meeting, 1), self.members)
        f.module.declare("sched_yield", "i32", [])
        entry, wait, tired, again, done = f.block, *map(f.new_label, ("wait", "tired", "again", "done"))
        f.line(f"br label %{wait}")
        f.label(wait)
        turns, following = f.fresh("i64"), f.fresh("i64")
        place = f.reserve()
        now = f.emit("i64", f"load atomic i64, {self.counter} acquire, align 8")
        f.line(f"br {f.compare('sge', now, wanted)}, label %{done}, label %{tired}")
        f.label(tired)
        f.line(f"{following.name} = add i64 {turns.name}, 1")
        late = f.compare("eq", f.emit("i64", f"and {following}, {_PATIENCE}"), 0)
        f.line(f"br {late}, label %{again}, label %{wait}")
        tired = f.block
        f.label(again)
        f.line("call i32 @sched_yield()")
        f.line(f"br label %{wait}")
        arrivals = f"[ 0, %{entry} ], [ {following.name}, %{tired} ], [ {following.name}, %{again} ]"
        f.fill(place, f"{turns.name} = phi i64 {arrivals}")
        f.label(done)
