"""Kernels for the two ends of a group's work: states put where its rows begin, and taken from where they
end."""

from __future__ import annotations

from ._layout import Kernel
from ._lists import Lists
from ._text import Value
from ._tiles import copy_row
from ._vectors import Vectors

_COMMON = ("rows", "lines", "counts", "joined", "width", "states", "state_row")
BEGIN_WORDS = (*_COMMON, "source")
END_WORDS = (*_COMMON, "steps", "slots", "ring", "target")


class _Ends:
    """A kernel over the rows of a group: `lines` are their numbers in the batch, whose rows are of `width`
    numbers."""

    def __init__(self, name: str, words: tuple[str, ...], bits: int, lanes: int) -> None:
        self.lists = Lists(f"{name}{bits}", words)
        self.f, self.w = self.lists.f, self.lists.w
        self.v = Vectors(self.f, bits, lanes)
        self.joined = self.f.compare("ne", self.w["joined"], 0)

    def state(self, slot: Value) -> Value:
        return self.f.offset(self.w["states"], self.f.mul(slot, self.w["state_row"]), self.v.element)

    def given(self, word: str, row: Value) -> Value:
        line = self.lists.read("lines", row)
        return self.f.offset(self.w[word], self.f.mul(line, self.w["width"]), self.v.element)

    def both(self, a: Value, b: Value) -> Value:
        return self.f.emit("i1", f"and {a}, {b.name}")


def begin_kernel(bits: int, lanes: int) -> Kernel:
    """Copy a batch's rows to the states of a group. Where rows join row 0, those that never do (they would
    work no timestep) are added to it."""
    ends = _Ends("begin", BEGIN_WORDS, bits, lanes)
    f, w = ends.f, ends.w
    with f.loop(0, w["rows"]) as rows:
        source = ends.given("source", rows.index)
        copy_row(ends.v, source, ends.state(rows.index), w["width"], accumulate=False)
        never = f.compare("eq", ends.lists.read("counts", rows.index), 0)
        with f.when(ends.both(ends.joined, never)):
            copy_row(ends.v, source, w["states"], w["width"], accumulate=True)
    return ends.lists.finish()


def end_kernel(bits: int, lanes: int) -> Kernel:
    """Copy a group's last states to the rows of the batch: from all slots of states, or (`ring`) from the
    last two timesteps'.

    Where rows join row 0, all end with the last timestep, and those that never do end as row 0."""
    ends = _Ends("end", END_WORDS, bits, lanes)
    f, w = ends.f, ends.w
    ring = f.compare("ne", w["ring"], 0)
    with f.loop(0, w["rows"]) as rows:
        count = ends.lists.read("counts", rows.index)
        ended = f.select(ends.joined, w["steps"], count)
        never = ends.both(ends.joined, f.compare("eq", count, 0))
        number = f.select(never, f.integer(0), rows.index)
        odd = f.emit("i64", f"and {ended}, 1")
        first = f.select(ring, f.mul(odd, w["rows"]), ends.lists.read("slots", ended))
        state = ends.state(f.add(first, number))
        size = f.mul(w["width"], bits // 8)
        f.module.declare_void("llvm.memcpy.p0.p0.i64", ["ptr", "ptr", "i64", "i1"])
        target = ends.given("target", rows.index)
        f.line(f"call void @llvm.memcpy.p0.p0.i64({target}, {state}, {size}, i1 false)")
    return ends.lists.finish()
