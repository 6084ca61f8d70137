"""Kernels that copy and add strided arrays, as a table planned once says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ._layout import Kernel
from ._signature import COPY as SIGNATURE
from ._support import SupportKernel
from ._text import Function, Integer, Value
from ._vectors import Vectors

COPY = (
    "target_array",
    "target_offset",
    "source_array",
    "source_offset",
    *(f"{what}{axis}" for what in ("size", "target_stride", "source_stride") for axis in range(3)),
    "adds",
)
"""A line of the table: which of the arrays, bytes from its first element on, three axes, strides in bytes;
whether the source is added to what the target holds."""

_SQUARE = 8  # greater squares compile for longer and transpose no faster


def copy_kernel(bits: int, lanes: int) -> Kernel:
    """Copies and sums from arrays to arrays, one after the other, as a table of `COPY` lines says."""
    table = _Table("copy", bits)
    f, v = table.f, Vectors(table.f, bits, lanes)
    with table.lines() as (target, source, m, adds):
        plain = _both(f, target.runs_along(2, bits), source.runs_along(2, bits))
        with f.when(plain):
            _row_by_row(v, target, source, m, adds)
        with (
            f.when(_not(f, plain)),
            f.loop(0, m["size0"]) as i,
            f.loop(0, m["size1"]) as j,
            f.loop(0, m["size2"]) as k,
        ):
            at = i.index, j.index, k.index
            _copy_element(v, v.element, source.at(*at), target.at(*at), adds)
    return table.finish()


def transpose_kernel(bits: int, lanes: int) -> Kernel:
    """Like `copy_kernel`, where all lines are of elements that lie side by side along axis 1 in the source
    and along axis 2 in the target: squares of vectors are transposed in registers."""
    table = _Table("transpose", bits)
    v = Vectors(table.f, bits, min(lanes, _SQUARE))
    with table.lines() as (target, source, m, adds):
        _transpose(v, target, source, m, adds)
    return table.finish()


class _Table(SupportKernel):
    """A kernel that goes over a table of `COPY` lines."""

    def __init__(self, name: str, bits: int) -> None:
        super().__init__(f"{name}{bits}", SIGNATURE)

    @contextmanager
    def lines(self) -> Iterator[tuple[_Part, _Part, dict[str, Value], Value]]:
        """`with table.lines() as (target, source, copy, adds):` over the lines."""
        f = self.f
        with f.loop(0, self.a["count"]) as loop:
            line = f.mul(loop.index, len(COPY))
            m = {word: self.read("copies", f.add(line, k)) for k, word in enumerate(COPY)}
            places = []
            for end in ("target", "source"):
                array = f.load("ptr", f.offset(self.a["arrays"], m[f"{end}_array"], "ptr"), 8)
                places.append(_Part(f, f.offset(array, m[f"{end}_offset"], "i8"), end, m))
            yield places[0], places[1], m, f.compare("ne", m["adds"], 0)


class _Part:
    """A part of an array with three axes, as a line of the table describes it."""

    def __init__(self, f: Function, first: Value, end: str, copy: dict[str, Value]) -> None:
        self._f, self._first = f, first
        self._strides = [copy[f"{end}_stride{axis}"] for axis in range(3)]

    def at(self, i: Integer, j: Integer, k: Integer) -> Value:
        """Where an element lies."""
        place = self._first
        for index, stride in zip((i, j, k), self._strides, strict=True):
            place = self._f.offset(place, self._f.mul(index, stride), "i8")
        return place

    def along(self, axis: int, first: Value, count: int) -> list[Value]:
        """Where the elements along an axis lie, from one on."""
        places = [first]
        while len(places) < count:
            places.append(self._f.offset(places[-1], self._strides[axis], "i8"))
        return places

    def runs_along(self, axis: int, bits: int) -> Value:
        """Whether the elements along an axis lie side by side."""
        return self._f.compare("eq", self._strides[axis], bits // 8)


def _both(f: Function, a: Value, b: Value) -> Value:
    return f.emit("i1", f"and {a}, {b.name}")


def _not(f: Function, a: Value) -> Value:
    return f.emit("i1", f"xor {a}, true")


def _copy_element(v: Vectors, kind: str, source: Value, target: Value, adds: Value) -> None:
    _put(v, v.function.load(kind, source, v.bits // 8), target, adds)


def _put(v: Vectors, value: Value, target: Value, adds: Value) -> None:
    f, align = v.function, v.bits // 8
    total = f.emit(value.type, f"fadd {f.load(value.type, target, align)}, {value.name}")
    f.store(f.select(adds, total, value), target, align)


def _row_by_row(v: Vectors, target: _Part, source: _Part, m: dict[str, Value], adds: Value) -> None:
    f = v.function
    whole = f.emit("i64", f"and {m['size2']}, {-v.lanes}")
    with f.loop(0, m["size0"]) as i, f.loop(0, m["size1"]) as j:
        first = source.at(i.index, j.index, 0), target.at(i.index, j.index, 0)
        for begin, end, step, kind in ((0, whole, v.lanes, v.type), (whole, m["size2"], 1, v.element)):
            with f.loop(begin, end, step) as k:
                here, there = (f.offset(place, k.index, v.element) for place in first)
                _copy_element(v, kind, here, there, adds)


def _transpose(v: Vectors, target: _Part, source: _Part, m: dict[str, Value], adds: Value) -> None:
    f, lanes = v.function, v.lanes
    with (
        f.loop(0, m["size0"]) as block,
        f.loop(0, m["size1"], lanes) as tall,
        f.loop(0, m["size2"], lanes) as wide,
    ):
        b, below, right = block.index, f.add(tall.index, lanes), f.add(wide.index, lanes)
        whole = _both(f, f.compare("sle", below, m["size1"]), f.compare("sle", right, m["size2"]))
        with f.when(whole):
            columns = source.along(2, source.at(b, tall.index, wide.index), lanes)
            lines = target.along(1, target.at(b, tall.index, wide.index), lanes)
            read = [f.load(v.type, column, v.bits // 8) for column in columns]
            for line, value in zip(lines, _transposed(f, read), strict=True):
                _put(v, value, line, adds)
        with (
            f.when(_not(f, whole)),
            f.loop(tall.index, f.minimum(below, m["size1"])) as row,
            f.loop(wide.index, f.minimum(right, m["size2"])) as column,
        ):
            at = b, row.index, column.index
            _copy_element(v, v.element, source.at(*at), target.at(*at), adds)


def _transposed(f: Function, rows: list[Value]) -> list[Value]:
    """Transpose a square of as many vectors as a vector has lanes: squares swapped off the diagonal, ever
    smaller ones."""
    lanes = len(rows)
    distance = lanes // 2
    while distance:
        above = [j if not j & distance else lanes + j - distance for j in range(lanes)]
        under = [j + distance if not j & distance else lanes + j for j in range(lanes)]
        following = list(rows)
        for i in range(lanes):
            if not i & distance:
                pair = rows[i], rows[i + distance]
                following[i], following[i + distance] = _shuffled(f, *pair, above), _shuffled(f, *pair, under)
        rows, distance = following, distance // 2
    return rows


def _shuffled(f: Function, a: Value, b: Value, lanes: list[int]) -> Value:
    chosen = ", ".join(f"i32 {lane}" for lane in lanes)
    return f.emit(a.type, f"shufflevector {a}, {b}, <{len(lanes)} x i32> <{chosen}>")
