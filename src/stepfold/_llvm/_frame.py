"""Where a stage finds its values: the memory of a timestep, of one of its rows, of some accumulators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._graph import Node
from .._plan import Place, place_of, start_of
from ._sizes import Offsets, Sizes
from ._text import Integer, Value
from ._tiles import Walk, product, tile_rows
from ._vectors import Vectors

_SHARED_BY_ROWS = ("vector", "hoisted", "vector_gradient")


@dataclass
class Frame:
    """Where everything lies at this timestep: the address of row 0 and the distance in elements to the next
    row; `inside`: for each axis a table that is one inside it and zero in its padding."""

    rows: Integer
    bases: dict[str, tuple[Value, int]]
    panels: Value
    inside: dict[str, Value]
    projection_row: Callable[[Integer], Value] | None = None


class Rows:
    """The addresses of one row, each computed once and before the walk over an axis."""

    def __init__(self, v: Vectors, offsets: Offsets, frame: Frame, index: Value) -> None:
        self._v, self._offsets, self._frame, self.index = v, offsets, frame, index
        self._rows: dict[tuple[str, str], Value] = {}

    def row(self, kind: str, stride: int | None = None) -> Value:
        """The address of the row in one kind of memory."""
        f, v = self._v.function, self._v
        key = (kind, f.block)
        if key not in self._rows:
            if kind == "projection":
                assert self._frame.projection_row is not None
                self._rows[key] = self._frame.projection_row(self.index)
            else:
                base, step = self._frame.bases[kind]
                wide = step if stride is None else stride
                self._rows[key] = f.offset(base, f.mul(self.index, wide), v.element)
        return self._rows[key]

    def address(self, place: Place, at: Integer) -> Value:
        """The address of a value of this row at an element."""
        f, v = self._v.function, self._v
        if place.kind in _SHARED_BY_ROWS:
            base = self._frame.bases[place.kind][0]
        else:
            base = self.row(place.kind)
        return f.offset(f.offset(base, at, v.element), self._offsets.of(place), v.element)


class Sums:
    """The accumulators of a group at a block of a walk: what they begin from, and where their sums lie."""

    def __init__(
        self,
        v: Vectors,
        sizes: Sizes,
        offsets: Offsets,
        group: list[Node],
        frame: Frame,
        block: Value,
        blocks: int,
        first: int,
        width: int,
    ) -> None:
        self._v, self._f, self._registers, self._offsets = v, v.function, sizes.registers, offsets
        self.group, self.frame, self.block, self.blocks = group, frame, block, blocks
        self._first, self._width = first, width
        self._rows: dict[tuple[str, str], Value] = {}
        self.column = self._f.mul(block, self._v.lanes)

    def multiply(self, walks: list[Walk]) -> None:
        """Compute all accumulators of the group by these walks."""
        tile = (tile_rows(len(self.group) * self.blocks, self._registers), self.blocks)
        product(self._v, self.frame.rows, tile, len(self.group), walks, self.start, self._finish)

    def start(self, row: Value | int, a: int, b: int) -> Value:
        """What an accumulator begins from."""
        f, v, leaf = self._f, self._v, start_of(self.group[a])
        if leaf is None:
            return v.constant(0.0)
        place = place_of(leaf)
        if place.kind == "vector":
            base = self.frame.bases["vector"][0]
        else:
            assert self.frame.projection_row is not None
            name = (str(row), f.block)
            if name not in self._rows:
                self._rows[name] = self.frame.projection_row(row)
            base = self._rows[name]
        at = f.offset(base, self.column, v.element)
        return v.load(f.offset(at, self._offsets.of(place) + b * v.lanes, v.element))

    def address(self, row: Value | int, a: int, b: int) -> Value:
        """Where an accumulator's sum lies."""
        f, v = self._f, self._v
        base = f.offset(self.frame.bases["sums"][0], f.mul(row, self._width), v.element)
        return f.offset(base, ((self._first + a) * self.blocks + b) * v.lanes, v.element)

    def _finish(self, row: Value | int, a: int, b: int, value: Value) -> None:
        self._v.store(value, self.address(row, a, b))
