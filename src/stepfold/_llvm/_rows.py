"""Kernels that copy rows: states in and out of a group, what stands at steps that are not active, gradients
of embeddings. `row_numbers` are those of a group's rows in the batch; a row has `width` elements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ._layout import Kernel
from ._signature import (
    ADD_ROWS,
    BLANK,
    CLEAR,
    CLEAR_ROWS,
    GATHER,
    LOAD_STATES,
    PAD_ROWS,
    REPEAT,
    STORE_GRADIENT,
    STORE_STATES,
    Signature,
)
from ._support import SupportKernel
from ._text import Integer, Value
from ._tiles import copy_row
from ._vectors import Vectors


class _Rows(SupportKernel):
    """A kernel over rows of floating-point elements."""

    def __init__(self, name: str, signature: Signature, bits: int, lanes: int) -> None:
        super().__init__(f"{name}{bits}", signature)
        self.v = Vectors(self.f, bits, lanes)

    def row(self, array: str | Value, number: Integer, width: Integer | None = None) -> Value:
        """The address of a row."""
        at = self.f.mul(number, self.a["width"] if width is None else width)
        return self.f.offset(self.array(array), at, self.v.element)

    def in_pieces(self, array: str | Value, number: Integer) -> Value:
        """The address of a row of an array whose rows are all pieces side by side."""
        return self.row(array, number, self.f.mul(self.a["width"], self.a["pieces"]))

    @contextmanager
    def pieces(self, padded: Value, plain: Value) -> Iterator[tuple[Value, Value]]:
        """`with kernel.pieces(padded, plain) as (p, q):` over the pieces of a value, where they lie apart and
        where they lie side by side."""
        with self.f.loop(0, self.a["pieces"]) as loop:
            yield (
                self.row(padded, loop.index, self.a["piece_stride"]),
                self.row(plain, loop.index, self.a["width"]),
            )

    def copy(self, source: Value, target: Value) -> None:
        """Copy a row."""
        copy_row(self.v, source, target, self.a["width"], accumulate=False)

    def add(self, source: Value, target: Value) -> None:
        """Add a row to another."""
        copy_row(self.v, source, target, self.a["width"], accumulate=True)

    def clear(self, target: Value) -> None:
        """Write zeros over a row."""
        _clear(self, target, self.f.mul(self.a["width"], self.v.bits // 8))

    def state(self, slot: Integer) -> Value:
        """The address of a slot of states."""
        return self.row("states", slot, self.a["state_row"])


def _clear(k: SupportKernel, target: Value, size: Integer) -> None:
    k.f.module.declare_void("llvm.memset.p0.i64", ["ptr", "i8", "i64", "i1"])
    k.f.line(f"call void @llvm.memset.p0.i64({target}, i8 0, {k.f.integer(size)}, i1 false)")


def load_states_kernel(bits: int, lanes: int) -> Kernel:
    """Copy the batch's rows of a state to a group's first slots, or (`copies` 2) to the next as well. Of rows
    that share a prefix those that have no step of their own are added to row 0 besides: in the backward pass
    theirs is its gradient."""
    k = _Rows("load_states", LOAD_STATES, bits, lanes)
    f, group = k.f, k.group()
    shared = f.compare("ne", group.get("shared"), 0)
    counts = group.get("counts", "ptr")
    rows = group.get("rows")
    with (
        f.loop(0, k.a["copies"]) as copies,
        k.row_loop(rows, group.get("row_numbers", "ptr")) as (row, number),
    ):
        source, first = k.in_pieces("source", number), f.mul(copies.index, rows)
        with k.pieces(k.state(f.add(first, row)), source) as (state, piece):
            k.copy(piece, state)
        without = f.compare("eq", k.read(counts, row), 0)
        with f.when(k.both(shared, without)), k.pieces(k.state(first), source) as (state, piece):
            k.add(piece, state)
    return k.finish()


def store_states_kernel(bits: int, lanes: int) -> Kernel:
    """Copy a group's last states to the batch's rows: from all slots, or from the last `ring` (1 or 2)
    timesteps'. Rows that share a prefix all end with the last timestep, those without a step of their own as
    row 0 does."""
    k = _Rows("store_states", STORE_STATES, bits, lanes)
    f, group = k.f, k.group()
    shared, rows = f.compare("ne", group.get("shared"), 0), group.get("rows")
    counts, slots, steps = group.get("counts", "ptr"), group.get("slots", "ptr"), group.get("steps")
    with k.row_loop(rows, group.get("row_numbers", "ptr")) as (row, number):
        count = k.read(counts, row)
        ended = f.select(shared, steps, count)
        source = f.select(k.both(shared, f.compare("eq", count, 0)), f.integer(0), row)
        odd = f.emit("i64", f"and {ended}, 1")
        turn = f.mul(f.mul(f.sub(k.a["ring"], 1), odd), rows)
        first = f.select(k.is_set("ring"), turn, k.read(slots, ended))
        ending = k.state(f.add(first, source))
        with k.pieces(ending, k.in_pieces("target", number)) as (state, piece):
            k.copy(state, piece)
    return k.finish()


def store_gradient_kernel(bits: int, lanes: int) -> Kernel:
    """Copy a group's gradient of a state to the batch's rows, or (`accumulate`) add it there."""
    k = _Rows("store_gradient", STORE_GRADIENT, bits, lanes)
    f, group = k.f, k.group()
    accumulate = k.is_set("accumulate")
    with k.row_loop(group.get("rows"), group.get("row_numbers", "ptr")) as (row, number):
        target = k.in_pieces("target", number)
        with k.pieces(k.state(row), target) as (state, piece):
            with f.when(k.no(accumulate)):
                k.clear(piece)
            k.add(state, piece)
    return k.finish()


class _Step(NamedTuple):
    """A step met on a walk: whether it is active, and its place in the batch."""

    active: Value
    place: Value


class _Padding(_Rows):
    """A kernel that walks over a group's rows of a mask (batch, time), in the order in which they run;
    nothing is done if every step is active."""

    @contextmanager
    def rows(self) -> Iterator[Value]:
        """`with kernel.rows() as number:` over the rows' numbers."""
        padded = self.f.compare("eq", self.status().get("all_active"), 0)
        group = self.group()
        with (
            self.f.when(padded),
            self.row_loop(group.get("rows"), group.get("row_numbers", "ptr")) as (_, number),
        ):
            yield number

    def step(self, number: Value, k: Value) -> _Step:
        """The k-th step of a row."""
        f, a = self.f, self.a
        t = f.select(self.is_set("reverse"), f.sub(f.sub(a["time"], 1), k), k)
        byte = f.load("i8", f.offset(a["mask"], f.add(f.mul(number, a["time"]), t), "i8"), 1)
        place = f.add(f.mul(number, a["row_stride"]), f.mul(t, a["time_stride"]))
        return _Step(f.emit("i1", f"icmp ne {byte}, 0"), place)


def repeat_kernel(bits: int, lanes: int) -> Kernel:
    """Write to steps that are not active the output of the last active one before, or the row's initial state
    (zeros if `start` is null)."""
    k = _Padding("repeat", REPEAT, bits, lanes)
    f = k.f
    with k.rows() as number:
        start = k.row("start", number, k.a["start_row"])
        with f.loop(0, k.a["time"], 1, [start]) as steps:
            step = k.step(number, steps.index)
            (last,) = steps.carried
            here = k.row("outputs", step.place)
            none = f.emit("i1", f"icmp eq {last}, null")
            with f.when(k.no(step.active)):
                with f.when(none):
                    k.clear(here)
                with f.when(k.no(none)):
                    k.copy(last, here)
            steps.next([f.select(step.active, here, last)])
    return k.finish()


def gather_kernel(bits: int, lanes: int) -> Kernel:
    """Sum gradients over runs of equal outputs: into `gathered` at the active steps, into `start` for the
    initial state; nothing is written at other steps."""
    k = _Padding("gather", GATHER, bits, lanes)
    f = k.f
    with k.rows() as number:
        sums = k.row("start", number)
        k.clear(sums)
        with f.loop(f.sub(k.a["time"], 1), -1, -1, [Value("false", "i1")]) as steps:
            (pending,) = steps.carried
            step = k.step(number, steps.index)
            given, here = k.row("gradient", step.place), k.row("gathered", step.place)
            with f.when(k.no(step.active)):
                k.add(given, sums)
            with f.when(step.active):
                k.copy(given, here)
            with f.when(k.both(step.active, pending)):
                k.add(sums, here)
                k.clear(sums)
            steps.next([k.no(step.active)])
    return k.finish()


def blank_kernel(bits: int, lanes: int) -> Kernel:
    """Write zeros to steps that are not active."""
    k = _Padding("blank", BLANK, bits, lanes)
    with k.rows() as number, k.f.loop(0, k.a["time"]) as steps:
        step = k.step(number, steps.index)
        with k.f.when(k.no(step.active)):
            k.clear(k.row("target", step.place))
    return k.finish()


def add_rows_kernel(bits: int, lanes: int) -> Kernel:
    """Add a group's gradients of distinct tokens to their rows of an embedding's."""
    k = _Rows("add_rows", ADD_ROWS, bits, lanes)
    group = k.group()
    source = group.get("row_gradients", "ptr")
    with k.row_loop(group.get("distinct_count"), group.get("distinct", "ptr")) as (row, token):
        k.add(k.row(source, row), k.row("target", token))
    return k.finish()


def pad_rows_kernel(bits: int, lanes: int) -> Kernel:
    """Copy chosen rows to rows of `row` elements, each piece with zeros behind its end."""
    k = _Rows("pad_rows", PAD_ROWS, bits, lanes)
    with k.row_loop(k.a["count"], k.a["row_numbers"]) as (row, number):
        target = k.row("target", row, k.a["row"])
        with k.pieces(target, k.in_pieces("source", number)) as (padded, piece):
            _clear(k, padded, k.f.mul(k.a["piece_stride"], bits // 8))
            k.copy(piece, padded)
    return k.finish()


def clear_kernel() -> Kernel:
    """Write zeros over one of so many equal parts of some bytes."""
    k = SupportKernel("clear", CLEAR)
    f, a = k.f, k.a
    begin, end = (
        f.emit("i64", f"udiv {f.mul(a['bytes'], part)}, {a['parts'].name}")
        for part in (a["part"], f.add(a["part"], 1))
    )
    _clear(k, k.bytes_past(a["target"], begin), f.sub(end, begin))
    return k.finish()


def clear_rows_kernel() -> Kernel:
    """Write zeros over `row` bytes for each row of a group."""
    return _clear_each("clear_rows", "rows")


def clear_distinct_kernel() -> Kernel:
    """Write zeros over `row` bytes for each distinct token of a group."""
    return _clear_each("clear_distinct", "distinct_count")


def _clear_each(name: str, count: str) -> Kernel:
    k = SupportKernel(name, CLEAR_ROWS)
    _clear(k, k.a["target"], k.f.mul(k.group().get(count), k.a["row"]))
    return k.finish()
