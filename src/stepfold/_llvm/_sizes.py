"""How many elements each axis has, and where the values of a row lie one behind the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .._graph import Dims
from .._plan import Place, Slots


class Pieces(NamedTuple):
    """A value in memory: so many pieces of `width` elements, `stride` from one to the next."""

    number: int
    width: int
    stride: int


@dataclass(frozen=True)
class Sizes:
    """The sizes of axes by name, the lanes of a vector and the registers of the target."""

    axes: tuple[tuple[str, int], ...]
    lanes: int
    registers: int

    @functools.cached_property
    def by_axis(self) -> dict[str, int]:
        """The sizes by axis."""
        return dict(self.axes)

    def size(self, axis: str) -> int:
        """How many elements an axis has."""
        return int(axis) if axis.isdecimal() else self.by_axis[axis]

    def blocks(self, axis: str) -> int:
        """How many vectors hold an axis."""
        return -(-self.size(axis) // self.lanes)

    def padded(self, axis: str) -> int:
        """The size of an axis rounded up to whole vectors."""
        return self.blocks(axis) * self.lanes

    def shape(self, dims: Dims) -> tuple[int, ...]:
        """The shape of a value."""
        return tuple(map(self.size, dims))

    def count(self, dims: Dims) -> int:
        """How many elements a value has."""
        return math.prod(self.shape(dims))

    def width(self, dims: Dims) -> int:
        """How many elements of memory a value takes: whole vectors, one element if it is a scalar."""
        return math.prod(map(self.size, dims[:-1])) * self.padded(dims[-1]) if dims else 1

    def pieces(self, dims: Dims) -> Pieces:
        """How a value lies in memory: in one piece, or, a matrix whose rows are padded, in one a row."""
        if len(dims) == 2 and self.size(dims[1]) % self.lanes:
            return Pieces(self.size(dims[0]), self.size(dims[1]), self.padded(dims[1]))
        return Pieces(1, self.count(dims), self.width(dims))

    def ends(self, slots: Sequence[Dims]) -> list[int]:
        """Where each of some values that lie one behind the other ends; vectors begin at whole vectors."""
        ends, end = [], 0
        for dims in slots:
            begin = self.whole(end) if dims else end
            end = begin + self.width(dims)
            ends.append(end)
        return ends

    def whole(self, count: int) -> int:
        """A number of elements rounded up to whole vectors."""
        return -(-count // self.lanes) * self.lanes


class Offsets:
    """Where the slots of each kind of place begin in a row, in elements."""

    def __init__(self, sizes: Sizes, slots: Slots) -> None:
        self._widths = {kind: [sizes.width(dims) for dims in of] for kind, of in slots.items()}
        self._ends = {kind: sizes.ends(of) for kind, of in slots.items()}
        self._sizes = sizes

    def of(self, place: Place) -> int:
        """Where the value of a place begins."""
        return self._ends[place.kind][place.slot] - self._widths[place.kind][place.slot]

    def end(self, kind: str, slots: int) -> int:
        """Where the first so many slots of a kind end, in whole vectors."""
        return self._sizes.whole(self._ends[kind][slots - 1]) if slots else 0

    def row(self, kind: str) -> int:
        """How many elements all slots of a kind take, in whole vectors."""
        return self._sizes.whole(self._ends[kind][-1]) if self._ends[kind] else 0
