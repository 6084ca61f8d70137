"""Weights packed as the kernels read them, and gradients unpacked from the kernels' sums, as copies between
named arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._llvm import INPUT_BLOCKS, Kernel, Layout, Shape
from ._buffers import Array
from ._copy_plan import Copy, CopyPlan, Location, constant
from ._program import Argument, Recorder

Pieces = Mapping[str, Sequence[tuple[str, Array]]]
"""For each parameter the arrays whose sum it is (none: zeros), or to each of which its gradient goes: the
name of an array, and a view of it."""
CONSTANTS = "constants"
"""The array that holds 0 and 1."""


@functools.cache
def _constants(dtype: np.dtype[Any]) -> Location:
    return constant(np.arange(2, dtype=dtype))


Sources = Mapping[str, slice]
"""What the input is put together from: the argument that its columns of the input's kernels are packed to,
and which columns those are."""


def sources_of(features: int, side: int = 0) -> Sources:
    """The sources of inputs, or of `side` features a step behind vectors a token."""
    found = {"input_panel": slice(0, features - side)}
    return found | {"side_panel": slice(features - side, features)} if side else found


def forward_sizes(layout: Layout, kernel: Kernel, sources: Sources) -> dict[str, int]:
    """The arguments of a forward kernel that weights are packed to, and how many elements each has."""
    return {
        "panels": kernel.panel_size,
        **{panel: _width(columns) * layout.projection_row for panel, columns in sources.items()},
        "vectors": len(layout.plan.vectors) * layout.shape.padded,
        "input_bias": layout.projection_row,
    }


def backward_sizes(layout: Layout, kernel: Kernel, sources: Sources) -> dict[str, int]:
    """Like `forward_sizes`, for the backward kernels."""
    wide = INPUT_BLOCKS * layout.shape.lanes
    row = wide * layout.shape.units * len(_input_matrices(layout))
    return {
        "panels": kernel.panel_size,
        **{panel: -(-_width(columns) // wide) * row for panel, columns in sources.items()},
        "vectors": len(layout.plan.backward_vectors) * layout.shape.padded,
    }


def _width(columns: slice) -> int:
    return int(columns.stop - columns.start)


class Packing:
    """Packing or unpacking as part of a program: the arrays that take part, by name."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.arrays: dict[str, Location] = {CONSTANTS: _constants(dtype)}

    def add(self, name: str, at: Argument, shape: int | tuple[int, ...]) -> Array:
        """Add an array of the program; returns one from which views are taken."""
        form: Array = np.empty(shape, self.dtype)
        self.arrays[name] = Location(at, form)
        return form

    def reserve(self, recorder: Recorder, sizes: Mapping[str, int]) -> dict[str, Argument]:
        """Reserve workspace for packed weights, and add it."""
        places = {}
        for name, size in sizes.items():
            places[name] = recorder.workspace(size * self.dtype.itemsize)
            self.add(name, places[name], size)
        return places

    def plan(self, copies: Iterator[Copy]) -> CopyPlan:
        """The plan of the copies."""
        return CopyPlan(self.arrays, copies)

    def constant(self, number: int, shape: tuple[int, ...]) -> tuple[str, Array]:
        """An array full of 0 or 1."""
        form = self.arrays[CONSTANTS].form
        return CONSTANTS, np.broadcast_to(form[number : number + 1].reshape(()), shape)

    def pieces(self, params: Pieces, name: str, shape: tuple[int, ...]) -> Sequence[tuple[str, Array]]:
        """What adds up to a parameter of this shape; of a scalar, to a vector of equal elements."""
        return [(of, np.broadcast_to(piece, shape)) for of, piece in params[name]] or [
            self.constant(0, shape)
        ]

    # ---- forward --------------------------------------------------------------------------------------

    def forward(self, layout: Layout, kernel: Kernel, sources: Sources, params: Pieces) -> Iterator[Copy]:
        """What packs weights into the arrays of `forward_sizes`."""
        yield from self._panels(kernel, layout.shape.lanes, params)
        yield from self._vectors(layout.plan.vectors, layout.shape, params)
        padded, units, projections = layout.shape.padded, layout.shape.units, layout.plan.projections
        wide = layout.projection_blocks[1] * layout.shape.lanes
        features = max(columns.stop for columns in sources.values())
        for panel, columns in sources.items():  # [groups][features][blocks · lanes] over all projections
            panels = self.arrays[panel].form.reshape(-1, _width(columns), wide)
            for k, projection in enumerate(projections):
                for name in projection.kernels:
                    for of, matrix in self.pieces(params, name, (units, features)):
                        yield from _across(panel, panels, of, matrix[:, columns], k * padded)
                nothing = self.constant(0, (padded - units, _width(columns)))
                yield from _across(panel, panels, *nothing, k * padded + units)
        bias = self.arrays["input_bias"].form.reshape(-1, padded)
        for k, projection in enumerate(projections):
            yield Copy("input_bias", bias[k, units:], *self.constant(0, (padded - units,)))
            yield Copy("input_bias", bias[k, :units], *self.constant(0, (units,)))
            for name in projection.vectors:
                for of, vector in self.pieces(params, name, (units,)):
                    yield Copy("input_bias", bias[k, :units], of, vector)

    # ---- backward -------------------------------------------------------------------------------------

    def backward(self, layout: Layout, kernel: Kernel, sources: Sources, params: Pieces) -> Iterator[Copy]:
        """What packs weights into the arrays of `backward_sizes`."""
        yield from self._panels(kernel, layout.shape.lanes, params)
        yield from self._vectors(layout.plan.backward_vectors, layout.shape, params)
        terms, units = _input_matrices(layout), layout.shape.units
        wide = INPUT_BLOCKS * layout.shape.lanes
        features = max(columns.stop for columns in sources.values())
        # the input's kernels, transposed: [groups][terms · units][blocks · lanes] over the features
        for panel, columns in sources.items():
            width = _width(columns)
            groups = -(-width // wide)
            panels = self.arrays[panel].form.reshape(groups, len(terms), units, wide)
            for t, name in enumerate(terms):
                for of, matrix in self.pieces(params, name, (units, features)):
                    yield from _across(panel, panels[:, t], of, matrix[:, columns].T, 0)
                nothing = self.constant(0, (groups * wide - width, units))
                yield from _across(panel, panels[:, t], *nothing, width)

    def gradients(
        self, layout: Layout, features: int, sums: Sequence[str], targets: Pieces
    ) -> Iterator[Copy]:
        """What adds the sums of all tasks, the arrays of these names, up to the parameters' gradients."""
        plan, units, padded = layout.plan, layout.shape.units, layout.shape.padded
        begins, untouched = layout.sums, set(targets)
        for of in sums:
            recurrent, columns, vectors, kernels = np.split(self.arrays[of].form, [*begins.values()][1:])
            columns, vectors = columns.reshape(-1, padded), vectors.reshape(-1, padded)
            kernels = kernels.reshape(features, -1, padded)
            found = [
                (o.matrix, kernels[:, o.delta, :units].T) for o in plan.outers if o.operand.kind == "input"
            ]
            for g in layout.recurrent_groups:
                block = recurrent[g.offset : g.offset + units * g.slots * padded]
                block = block.reshape(units, g.slots, padded)
                found += [(o.matrix, block[:, o.delta - g.first_delta, :units].T) for o in g.outers]
            found += [(name, columns[k, :units]) for k, (name, _) in enumerate(plan.column_sums)]
            found += [(name, vectors[k, :units]) for k, name in enumerate(plan.vector_gradients)]
            for name, value in found:
                untouched.discard(name)
                for to, piece in targets.get(name, ()):
                    if piece.ndim == value.ndim:
                        yield Copy(to, piece, of, value)
                    else:  # of a scalar: zero, and then the sum over the units
                        target = np.broadcast_to(piece, value.shape)
                        if of == sums[0]:
                            yield Copy(to, target, *self.constant(0, value.shape))
                        yield Copy(to, target, of, value)
        for name in untouched:
            for to, piece in targets[name]:
                yield Copy(to, piece, *self.constant(0, piece.shape))

    # ---- both -----------------------------------------------------------------------------------------

    def _vectors(self, names: Sequence[str], shape: Shape, params: Pieces) -> Iterator[Copy]:
        """Vectors [names][padded units]; padding is 1, so that nothing is divided by zero there."""
        units, padded = shape.units, shape.padded
        vectors = self.arrays["vectors"].form.reshape(-1, padded)
        for vector, name in zip(vectors, names, strict=True):
            for of, piece in self.pieces(params, name, (units,)):
                yield Copy("vectors", vector[:units], of, piece)
            yield Copy("vectors", vector[units:], *self.constant(1, (padded - units,)))

    def _panels(self, kernel: Kernel, lanes: int, params: Pieces) -> Iterator[Copy]:
        """Recurrent matrices as panels [groups][parts · length][terms][blocks · lanes], zeros where units
        end."""
        for panel in kernel.panels:
            wide, length = panel.blocks * lanes, panel.length
            block = self.arrays["panels"].form[panel.offset : panel.offset + panel.size(lanes)]
            block = block.reshape(panel.groups, len(panel.parts), length, len(panel.parts[0]), wide)
            for p, part in enumerate(panel.parts):
                for t, (name, transposed) in enumerate(part):
                    target = block[:, p, :, t]
                    for of, matrix in self.pieces(params, name, (length, length)):
                        yield from _across("panels", target, of, matrix.T if transposed else matrix, 0)
                    nothing = self.constant(0, (panel.groups * wide - length, length))
                    yield from _across("panels", target, *nothing, length)


def _across(to: str, target: Array, of: str, matrix: Array, first: int) -> Iterator[Copy]:
    """Lay the rows of a matrix (units, length) across target [groups][length][wide], the first of them in
    lane `first` of all groups' lanes."""
    row = 0
    units, length = matrix.shape
    wide = target.shape[2]
    while row < units:
        group, lane = divmod(first + row, wide)
        whole = 0 if lane else (units - row) // wide
        some = whole * wide or min(wide - lane, units - row)
        rows = matrix[row : row + some]
        if whole:
            rows = rows.reshape(whole, wide, length).transpose(0, 2, 1)
            yield Copy(to, target[group : group + whole], of, rows)
        else:
            yield Copy(to, target[group, :, lane : lane + some], of, rows.T)
        row += some


def _input_matrices(layout: Layout) -> list[str]:
    return [o.matrix for o in layout.plan.outers if o.operand.kind == "input"]
