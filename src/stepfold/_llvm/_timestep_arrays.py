"""The caller's arrays in the kernels of one timestep: where parameters, states and gradients lie."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from .._plan import Place
from ._cooperative import Ranks
from ._layout import Layout
from ._text import Integer, Value
from ._tiles import copy_row
from ._unpacked import Matrix, load_some
from ._writer import Writer

INPUT = Place("input", 0)
Pieces = tuple[tuple[int, int], ...]
"""Where a parameter lies: the number of the array and the first element there; of a vector all pieces whose
sum it is."""


@dataclass(frozen=True)
class Timestep:
    """A layout, the features of its input, and where each parameter lies in the caller's arrays.

    `shapes`: those of all parameters; those that are one number each have no axis."""

    layout: Layout
    features: int
    pieces: Mapping[str, Pieces]
    shapes: Mapping[str, tuple[int, ...]]

    @functools.cached_property
    def scalars(self) -> frozenset[str]:
        """The parameters that are one number each."""
        return frozenset(name for name, shape in self.shapes.items() if not shape)

    @functools.cached_property
    def terms(self) -> dict[Place, int]:
        """Where in a row of `terms` each operand of an outer product begins; deltas come first."""
        layout, found = self.layout, {}
        end = layout.delta_row + layout.operand_row
        for outer in layout.plan.outers:
            place = outer.operand
            if place.kind == "operand":
                found[place] = layout.delta_row + layout.backward.of(place)
            elif place not in found:
                found[place], end = end, end + self.operand_width(place)
        return found

    @functools.cached_property
    def terms_row(self) -> int:
        """How many elements a row of `terms` has."""
        layout = self.layout
        copied = [self.operand_width(place) for place in self.terms if place.kind != "operand"]
        return layout.delta_row + layout.operand_row + sum(copied)

    def operand_width(self, place: Place) -> int:
        """How many elements an operand of an outer product has."""
        if place == INPUT:
            return self.features
        return self.layout.sizes.count(self.layout.plan.backward.slots[place.kind][place.slot])

    @property
    def vector_row(self) -> int:
        """How many elements the gradients take that the backward kernel sums itself."""
        return self.layout.backward.row("vector_gradient")

    def saved(self, training: bool) -> int:
        """How many elements of `saved` a row takes."""
        return 2 * self.layout.state_row + (self.layout.residual_row if training else 0)


class Arrays:
    """The caller's arrays in a kernel being written, and the rows that it is to compute."""

    def __init__(self, w: Writer, of: Timestep, ranks: Ranks | None = None) -> None:
        self._w, self._of, self._f, self._v = w, of, w.f, w.v
        f, layout = w.f, w.layout
        self._parameters = {
            name: [f.offset(self.address("weights", k), at, w.v.element) for k, at in pieces]
            for name, pieces in of.pieces.items()
        }
        batch = w.a["batch"]
        self.first: Value = f.integer(0)
        self.rows: Value = batch
        if ranks is None:
            self.first = f.emit("i64", f"udiv {f.mul(batch, w.a['part'])}, {w.a['parts'].name}")
            end = f.mul(batch, f.add(w.a["part"], 1))
            self.rows = f.sub(f.emit("i64", f"udiv {end}, {w.a['parts'].name}"), self.first)
        row = layout.state_row
        residuals = w.at(w.at(w.a["saved"], batch, 2 * row), self.first, layout.residual_row)
        self.bases = {
            "state": (w.at(w.a["saved"], self.first, row), row),
            "new": (w.at(w.a["saved"], f.add(batch, self.first), row), row),
            "residual": (residuals, layout.residual_row),
            "residual_scalar": (
                f.offset(residuals, layout.forward.row("residual"), w.v.element),
                layout.residual_row,
            ),
            "vector": (w.a["vectors"], 0),
        }

    def address(self, array: str, number: int) -> Value:
        """An address out of an array of them."""
        return self._f.load("ptr", self._f.offset(self._w.a[array], number, "ptr"), 8)

    @functools.cached_property
    def matrices(self) -> Mapping[str, Matrix]:
        """The parameters that are matrices."""
        return {
            name: Matrix(self._parameters[name][0], *shape)
            for name, shape in self._of.shapes.items()
            if len(shape) == 2
        }

    def part_of(self, name: str, at: Value) -> Value:
        """A vector of elements of a parameter that is a vector, or one number; zeros beyond its end."""
        f, v, value = self._f, self._v, self._v.constant(0.0)
        size = self._w.sizes.count(self._w.plan.step.parameters[name])
        left: Integer = f.sub(size, at) if size % v.lanes else v.lanes
        for piece in self._parameters[name]:
            if name in self._of.scalars:
                value = v.add(value, v.splat(piece))
            else:
                value = v.add(value, load_some(v, f.offset(piece, at, v.element), left))
        return value

    def copy_vectors(self, names: tuple[str, ...]) -> None:
        """Copy the parameters that are read element by element to `vectors`; padded with ones, so that
        nothing is divided by zero there."""
        f, v, sizes, begin = self._f, self._v, self._w.sizes, 0
        for name in names:
            dims = self._w.plan.step.parameters[name]
            size, width = sizes.count(dims), sizes.width(dims)
            target = f.offset(self._w.a["vectors"], begin, v.element)
            begin += width
            with f.loop(0, width, v.lanes) as loop:
                value = self.part_of(name, loop.index)
                if size < width and name not in self._of.scalars:
                    inside = v.first_lanes(f.sub(size, loop.index))
                    value = v.where(inside, value, v.constant(1.0))
                v.store(value, f.offset(target, loop.index, v.element))

    def load_rows(self, array: str, number: int, target: Value, begin: int, width: int) -> None:
        """Copy the rows of one of the caller's arrays to padded rows of states; zeros where there is none."""
        f, v, w = self._f, self._v, self._w
        row, padded = w.layout.state_row, w.sizes.whole(width)
        there = f.emit("i1", f"icmp ne {w.a[array]}, null")
        nowhere = w.module.table("nowhere", "ptr", "null")
        given = f.load("ptr", f.select(there, f.offset(w.a[array], number, "ptr"), nowhere), 8)
        is_given = f.emit("i1", f"icmp ne {given}, null")
        with f.loop(0, self.rows) as loop:
            to = f.offset(w.at(target, loop.index, row), begin, v.element)
            with f.when(is_given):
                if width < padded:
                    v.store(v.constant(0.0), f.offset(to, padded - v.lanes, v.element))
                source = w.at(given, f.add(self.first, loop.index), width)
                copy_row(v, source, to, width, accumulate=False)
            with f.when(f.emit("i1", f"xor {is_given}, true")), f.loop(0, padded, v.lanes) as zeros:
                v.store(v.constant(0.0), f.offset(to, zeros.index, v.element))

    def store_rows(self, source: Value, begin: int, number: int, width: int) -> None:
        """Copy padded rows of states to one of the caller's results."""
        f, v, w = self._f, self._v, self._w
        target = self.address("results", number)
        with f.loop(0, self.rows) as loop:
            of = f.offset(w.at(source, loop.index, w.layout.state_row), begin, v.element)
            copy_row(v, of, w.at(target, f.add(self.first, loop.index), width), width, accumulate=False)
