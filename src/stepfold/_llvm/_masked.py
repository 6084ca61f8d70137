"""Kernels for what stands at masked places of some rows of a batch: outputs repeated, and their gradients'
way back to where they were made.

A mask [batch][time] has a byte a place; rows of `width` numbers lie `row_place` and `time_place` rows
apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ._layout import Kernel
from ._lists import Lists
from ._text import Value
from ._tiles import copy_row
from ._vectors import Vectors

_COMMON = ("rows", "lines", "time", "width", "mask", "row_place", "time_place", "reverse", "zeros")
REPEAT_WORDS = (*_COMMON, "start", "start_row", "outputs")
GATHER_WORDS = (*_COMMON, "gradient", "gathered", "start")
BLANK_WORDS = (*_COMMON, "target")


class _Place(NamedTuple):
    """A place met on a walk: whether it works, and how many numbers lie before its row."""

    works: Value
    at: Value


class _Walk:
    """A kernel that walks over some rows of a mask, timestep after timestep in the order of work."""

    def __init__(self, name: str, words: tuple[str, ...], bits: int, lanes: int) -> None:
        self.lists = Lists(f"{name}{bits}", words)
        self.f, self.w = self.lists.f, self.lists.w
        self.v = Vectors(self.f, bits, lanes)

    def row(self, word: str, at: Value) -> Value:
        return self.f.offset(self.w[word], at, self.v.element)

    def copy(self, source: Value, target: Value, *, keep: bool = False) -> None:
        copy_row(self.v, source, target, self.w["width"], accumulate=keep)

    @contextmanager
    def lines(self) -> Iterator[Value]:
        """`with walk.lines() as line:` over the rows' numbers."""
        with self.f.loop(0, self.w["rows"]) as rows:
            yield self.lists.read("lines", rows.index)

    def place(self, line: Value, step: Value) -> _Place:
        """The `step`-th place in the order of work."""
        f, w = self.f, self.w
        backwards = f.compare("ne", w["reverse"], 0)
        t = f.select(backwards, f.sub(f.sub(w["time"], 1), step), step)
        byte = f.load("i8", f.offset(w["mask"], f.add(f.mul(line, w["time"]), t), "i8"), 1)
        number = f.add(f.mul(line, w["row_place"]), f.mul(t, w["time_place"]))
        return _Place(f.emit("i1", f"icmp ne {byte}, 0"), f.mul(number, w["width"]))

    def no(self, condition: Value) -> Value:
        return self.f.emit("i1", f"xor {condition}, true")


def repeat_kernel(bits: int, lanes: int) -> Kernel:
    """Write into masked places what the last working one before gave, or what the row started from."""
    walk = _Walk("repeat", REPEAT_WORDS, bits, lanes)
    f, w = walk.f, walk.w
    with walk.lines() as line:
        start = walk.row("start", f.mul(line, w["start_row"]))
        with f.loop(0, w["time"], 1, [start]) as steps:
            place = walk.place(line, steps.index)
            here = walk.row("outputs", place.at)
            with f.when(walk.no(place.works)):
                walk.copy(steps.carried[0], here)
            steps.next([f.select(place.works, here, steps.carried[0])])
    return walk.lists.finish()


def gather_kernel(bits: int, lanes: int) -> Kernel:
    """Sum gradients over runs of equal outputs: `gathered` at the working places, `start` for what the rows
    started from; nothing is written at masked places."""
    walk = _Walk("gather", GATHER_WORDS, bits, lanes)
    f, w = walk.f, walk.w
    with walk.lines() as line:
        sums = walk.row("start", f.mul(line, w["width"]))
        walk.copy(w["zeros"], sums)
        none = Value("false", "i1")
        with f.loop(f.sub(w["time"], 1), -1, -1, [none]) as steps:
            (waiting,) = steps.carried
            place = walk.place(line, steps.index)
            given, here = walk.row("gradient", place.at), walk.row("gathered", place.at)
            with f.when(walk.no(place.works)):
                walk.copy(given, sums, keep=True)
            with f.when(place.works):
                walk.copy(given, here)
            with f.when(f.emit("i1", f"and {place.works}, {waiting.name}")):
                walk.copy(sums, here, keep=True)
                walk.copy(w["zeros"], sums)
            steps.next([walk.no(place.works)])
    return walk.lists.finish()


def blank_kernel(bits: int, lanes: int) -> Kernel:
    """Write zeros into masked places."""
    walk = _Walk("blank", BLANK_WORDS, bits, lanes)
    f, w = walk.f, walk.w
    with walk.lines() as line, f.loop(0, w["time"]) as steps:
        place = walk.place(line, steps.index)
        with f.when(walk.no(place.works)):
            walk.copy(w["zeros"], walk.row("target", place.at))
    return walk.lists.finish()
