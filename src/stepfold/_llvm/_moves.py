"""Kernels that move numbers: rows added to chosen rows, matrices turned from one layout to another."""

from __future__ import annotations

from ._layout import Kernel
from ._lists import Lists
from ._text import Function, Integer, Value
from ._tiles import add_row
from ._vectors import Vectors

ADD_WORDS = ("count", "width", "lines", "source", "target")
TURN_WORDS = (
    "blocks",
    "rows",
    "columns",
    "source",
    "source_block",
    "source_column",
    "target",
    "target_block",
    "target_row",
)


def add_kernel(bits: int, lanes: int) -> Kernel:
    """Add rows of numbers of so many bits, one after the other, to chosen rows of a matrix."""
    lists = Lists(f"add{bits}", ADD_WORDS)
    f, w = lists.f, lists.w
    v = Vectors(f, bits, lanes)
    with f.loop(0, w["count"]) as loop:
        source = f.offset(w["source"], f.mul(loop.index, w["width"]), v.element)
        target = f.offset(w["target"], f.mul(lists.read("lines", loop.index), w["width"]), v.element)
        add_row(v, source, target, w["width"], keep=True)
    return lists.finish()


def turn_kernel(bits: int, lanes: int) -> Kernel:
    """Copy blocks whose rows lie side by side in the source to where their columns do: squares of vectors are
    turned in registers. Strides count numbers."""
    lists = Lists(f"turn{bits}", TURN_WORDS)
    f, w, kind = lists.f, lists.w, f"i{bits}"
    vector, align = f"<{lanes} x {kind}>", bits // 8

    def source(block: Value, row: Value, column: Integer) -> Value:
        at = f.add(f.mul(block, w["source_block"]), f.mul(column, w["source_column"]))
        return f.offset(w["source"], f.add(at, row), kind)

    def target(block: Value, row: Integer, column: Value) -> Value:
        at = f.add(f.mul(block, w["target_block"]), f.mul(row, w["target_row"]))
        return f.offset(w["target"], f.add(at, column), kind)

    with (
        f.loop(0, w["blocks"]) as block,
        f.loop(0, w["rows"], lanes) as tall,
        f.loop(0, w["columns"], lanes) as wide,
    ):
        b, below, right = block.index, f.add(tall.index, lanes), f.add(wide.index, lanes)
        fits = f.compare("sle", below, w["rows"]), f.compare("sle", right, w["columns"])
        whole = f.emit("i1", f"and {fits[0]}, {fits[1].name}")
        with f.when(whole):
            read = [f.load(vector, source(b, tall.index, f.add(wide.index, i)), align) for i in range(lanes)]
            for i, value in enumerate(_turned(f, read)):
                f.store(value, target(b, f.add(tall.index, i), wide.index), align)
        with (
            f.when(f.emit("i1", f"xor {whole}, true")),
            f.loop(tall.index, f.minimum(below, w["rows"])) as row,
            f.loop(wide.index, f.minimum(right, w["columns"])) as column,
        ):
            number = f.load(kind, source(b, row.index, column.index), align)
            f.store(number, target(b, row.index, column.index), align)
    return lists.finish()


def _turned(f: Function, rows: list[Value]) -> list[Value]:
    """Turn a square of as many vectors as a vector has lanes: squares swapped off the diagonal, ever smaller
    ones."""
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
