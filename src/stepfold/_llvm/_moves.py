"""The LLVM lowering of what moves the elements of a vector: copies of whole pieces, and running sums.

A running sum is one within each vector, by as many shifted additions as the number of lanes has bits, on top
of the sum of those before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._axes import integer_of
from .._graph import Node
from .._moves import BLOCKS, Window, takes_offset, window_of
from ._sizes import Sizes
from ._text import Integer, Value
from ._tiles import copy_row
from ._vectors import Vectors

Address = Callable[[Integer], Value]
Piece = tuple[int | None, int, int]
"""Where elements come from (None: zeros), where they go, and how many they are."""


def pieces_of(op: str, window: Window) -> list[Piece]:
    """Return of which pieces the result of an operation with an offset is made."""
    begin, size, inner, _ = window
    if op == "roll":
        first = -begin % size
        return [(first, 0, size - first), (0, size - first, first)]
    if op == "shift":
        many = max(-size, min(size, begin))
        if many >= 0:
            return [(None, 0, many), (0, many, size - many)]
        return [(-many, 0, size + many), (None, size + many, -many)]
    if op == "pad":
        return [(None, 0, begin), (0, begin, inner), (None, begin + inner, window.after)]
    return [(begin, 0, size)]  # a part, or the whole with another axis


def write_move(v: Vectors, n: Node, sizes: Sizes, sources: Sequence[Address], target: Address) -> None:
    """Write the elements of vectors of one row, which lie at `source(element)`, where they go,
    `target(element)`; of matrices whole rows of them."""
    wide = sizes.padded(n.dims[1]) if len(n.dims) == 2 else 1
    if n.op == "join":
        begins = [integer_of(str(by.attributes[0]), sizes.by_axis) for by in n.inputs[1::2]]
        counts = [sizes.size(part.dims[0]) for part in n.inputs[::2]]
        _join(v, list(zip(begins, counts, sources, strict=True)), target, sizes.size(n.dims[0]), wide)
        return
    (source,) = sources
    if n.op in BLOCKS:
        _blocks(v, source, target, window_of(n, sizes.by_axis), sums=n.op == "block_sums")
        return
    if takes_offset(n.op, 1):
        for begin, at, count in pieces_of(n.op, window_of(n, sizes.by_axis)):
            if count and begin is None:
                _clear(v, target(at * wide), count * wide)
            elif count:
                copy_row(v, source((begin or 0) * wide), target(at * wide), count * wide, accumulate=False)
        return
    size = sizes.size(n.dims[0])
    if n.op == "reverse":
        _reverse(v, source, target, size)
    else:
        _cumsum(v, source, target, size, back=n.op == "reverse_cumsum")


def _join(v: Vectors, parts: list[tuple[int, int, Address]], target: Address, size: int, wide: int) -> None:
    """Write parts, each with where it begins and how many elements it has, and zeros where none is; each
    element is `wide` numbers."""
    parts = sorted(parts, key=lambda part: part[0])
    ends = [0, *(begin + count for begin, count, _ in parts)]
    apart = all(end <= begin for end, (begin, _, _) in zip(ends, parts, strict=False))
    gaps = zip(ends, [*(begin for begin, _, _ in parts), size], strict=True)
    for begin, end in gaps if apart else [(0, size)]:
        if begin < end:
            _clear(v, target(begin * wide), (end - begin) * wide)
    for begin, count, source in parts:
        copy_row(v, source(0), target(begin * wide), count * wide, accumulate=not apart)


def _clear(v: Vectors, target: Value, count: int) -> None:
    """Write zeros over some elements."""
    f, whole = v.function, count // v.lanes * v.lanes
    if whole:
        with f.loop(0, whole, v.lanes) as loop:
            v.store(v.constant(0.0), f.offset(target, loop.index, v.element))
    if whole < count:
        with f.loop(whole, count) as loop:
            f.store(Value("0.0", v.element), f.offset(target, loop.index, v.element), v.bits // 8)


def _blocks(v: Vectors, source: Address, target: Address, window: Window, *, sums: bool) -> None:
    """Write each element so many times in a row, or the sum of each so many."""
    f, align, many = v.function, v.bits // 8, window.begin
    with f.loop(0, window.size if sums else window.inner) as outer:
        begin = f.mul(outer.index, many)
        if sums:
            with f.loop(0, many, 1, [Value("0.0", v.element)]) as inner:
                found = f.load(v.element, source(f.add(begin, inner.index)), align)
                inner.next([f.emit(v.element, f"fadd {inner.carried[0]}, {found.name}")])
            f.store(inner.results[0], target(outer.index), align)
        else:
            taken = f.load(v.element, source(outer.index), align)
            with f.loop(0, many) as inner:
                f.store(taken, target(f.add(begin, inner.index)), align)


def _shuffled(v: Vectors, a: Value, b: Value, picked: Sequence[int]) -> Value:
    mask = ", ".join(f"i32 {i}" for i in picked)
    return v.function.emit(v.type, f"shufflevector {a}, {b}, <{v.lanes} x i32> <{mask}>")


def _reverse(v: Vectors, source: Address, target: Address, size: int) -> None:
    f, whole = v.function, size // v.lanes * v.lanes
    if whole:
        with f.loop(0, whole, v.lanes) as loop:
            taken = v.load(source(f.sub(size - v.lanes, loop.index)))
            v.store(_shuffled(v, taken, taken, range(v.lanes)[::-1]), target(loop.index))
    if whole < size:
        with f.loop(whole, size) as loop:
            taken = f.load(v.element, source(f.sub(size - 1, loop.index)), v.bits // 8)
            f.store(taken, target(loop.index), v.bits // 8)


def _cumsum(v: Vectors, source: Address, target: Address, size: int, *, back: bool) -> None:
    """The sum of each element and those before it, or (`back`) behind it."""
    f, lanes = v.function, v.lanes
    whole = size // lanes * lanes
    # forwards the whole vectors come first, backwards the elements that fill none
    total = Value("0.0", v.element)
    if back and whole < size:
        total = _elements(v, source, target, size - 1, whole - 1, total)
    if whole:
        zeros, last = v.constant(0.0), 0 if back else lanes - 1
        begin, end, step = (whole - lanes, -lanes, -lanes) if back else (0, whole, lanes)
        with f.loop(begin, end, step, [v.broadcast(total)]) as loop:
            (before,) = loop.carried
            found = v.load(source(loop.index))
            distance = 1
            while distance < lanes:
                if back:
                    picked = [min(i + distance, lanes) for i in range(lanes)]
                else:
                    picked = [i - distance if i >= distance else lanes for i in range(lanes)]
                found = v.add(found, _shuffled(v, found, zeros, picked))
                distance *= 2
            found = v.add(found, before)
            v.store(found, target(loop.index))
            loop.next([_shuffled(v, found, found, [last] * lanes)])
        total = f.emit(v.element, f"extractelement {loop.results[0]}, i64 0")
    if not back and whole < size:
        _elements(v, source, target, whole, size, total)


def _elements(v: Vectors, source: Address, target: Address, begin: int, end: int, total: Value) -> Value:
    """The running sum one element at a time; return the last."""
    f, align = v.function, v.bits // 8
    with f.loop(begin, end, 1 if begin < end else -1, [total]) as loop:
        found = f.load(v.element, source(loop.index), align)
        found = f.emit(v.element, f"fadd {loop.carried[0]}, {found.name}")
        f.store(found, target(loop.index), align)
        loop.next([found])
    return loop.results[0]
