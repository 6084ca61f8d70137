"""Weights packed as the kernels read them, and gradients unpacked from the kernels' sums, as copies between
named arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._llvm import INPUT_BLOCKS, Kernel, Layout
from .._plan import Place
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
        "vectors": layout.forward.row("vector"),
        "input_bias": layout.projection_row,
    }


def backward_sizes(layout: Layout, kernel: Kernel, sources: Sources) -> dict[str, int]:
    """Like `forward_sizes`, for the backward kernels."""
    wide = INPUT_BLOCKS * layout.sizes.lanes
    row = wide * sum(_rows_of(layout, name) for name in _input_matrices(layout))
    return {
        "panels": kernel.panel_size,
        **{panel: -(-_width(columns) // wide) * row for panel, columns in sources.items()},
        "vectors": layout.backward.row("vector"),
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
        plan, sizes = layout.plan, layout.sizes
        yield from self._panels(layout, kernel, params)
        yield from self._vectors(layout, plan.vectors, params)
        wide = layout.projection_blocks[1] * sizes.lanes
        features = max(columns.stop for columns in sources.values())
        begins = [layout.forward.of(Place("projection", k)) for k in range(len(plan.projections))]
        for panel, columns in sources.items():  # [groups][features][blocks · lanes] over all projections
            if not plan.projections:
                break
            panels = self.arrays[panel].form.reshape(-1, _width(columns), wide)
            for begin, projection in zip(begins, plan.projections, strict=True):
                size, padded = sizes.count(projection.dims), sizes.width(projection.dims)
                for name in projection.kernels:
                    for of, matrix in self.pieces(params, name, (size, features)):
                        yield from _across(panel, panels, of, matrix[:, columns], begin)
                nothing = self.constant(0, (padded - size, _width(columns)))
                yield from _across(panel, panels, *nothing, begin + size)
        for begin, projection in zip(begins, plan.projections, strict=True):
            size, padded = sizes.count(projection.dims), sizes.width(projection.dims)
            bias = self.arrays["input_bias"].form[begin : begin + padded]
            yield Copy("input_bias", bias[size:], *self.constant(0, (padded - size,)))
            yield Copy("input_bias", bias[:size], *self.constant(0, (size,)))
            for name in projection.vectors:
                for of, vector in self.pieces(params, name, (size,)):
                    yield Copy("input_bias", bias[:size], of, vector)

    # ---- backward -------------------------------------------------------------------------------------

    def backward(self, layout: Layout, kernel: Kernel, sources: Sources, params: Pieces) -> Iterator[Copy]:
        """What packs weights into the arrays of `backward_sizes`."""
        plan = layout.plan
        yield from self._panels(layout, kernel, params)
        yield from self._vectors(layout, plan.backward_vectors, params)
        terms = [(name, _rows_of(layout, name)) for name in _input_matrices(layout)]
        rows = sum(size for _, size in terms)
        wide = INPUT_BLOCKS * layout.sizes.lanes
        features = max(columns.stop for columns in sources.values())
        # the input's kernels, transposed: [groups][rows of all terms][blocks · lanes] over the features
        for panel, columns in sources.items():
            width, begin = _width(columns), 0
            groups = -(-width // wide)
            panels = self.arrays[panel].form.reshape(groups, rows, wide)
            for name, size in terms:
                target = panels[:, begin : begin + size]
                for of, matrix in self.pieces(params, name, (size, features)):
                    yield from _across(panel, target, of, matrix[:, columns].T, 0)
                nothing = self.constant(0, (groups * wide - width, size))
                yield from _across(panel, target, *nothing, width)
                begin += size

    def gradients(
        self, layout: Layout, features: int, sums: Sequence[str], targets: Pieces
    ) -> Iterator[Copy]:
        """What adds the sums of all tasks, the arrays of these names, up to the parameters' gradients."""
        untouched = set(targets)
        for of in sums:
            for name, value in _sums_of(layout, features, self.arrays[of].form):
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

    def _vectors(self, layout: Layout, names: Sequence[str], params: Pieces) -> Iterator[Copy]:
        """Parameters that are used element by element, one behind the other, their last axes padded with 1,
        so that nothing is divided by zero there."""
        vectors, begin = self.arrays["vectors"].form, 0
        for name in names:
            dims = layout.plan.step.parameters[name]
            shape, width = layout.sizes.shape(dims), layout.sizes.width(dims)
            vector, begin = vectors[begin : begin + width], begin + width
            vector = vector.reshape(*shape[:-1], -1)
            for of, piece in self.pieces(params, name, shape):
                yield Copy("vectors", vector[..., : shape[-1]], of, piece)
            rest = vector[..., shape[-1] :]
            yield Copy("vectors", rest, *self.constant(1, rest.shape))

    def _panels(self, layout: Layout, kernel: Kernel, params: Pieces) -> Iterator[Copy]:
        """Recurrent matrices as panels [groups][parts · length][terms][blocks · lanes], zeros where an axis
        ends."""
        lanes = layout.sizes.lanes
        for panel in kernel.panels:
            wide, length = panel.blocks * lanes, panel.length
            block = self.arrays["panels"].form[panel.offset : panel.offset + panel.size(lanes)]
            block = block.reshape(panel.groups, len(panel.parts), length, len(panel.parts[0]), wide)
            for p, part in enumerate(panel.parts):
                for t, (name, transposed) in enumerate(part):
                    target, shape = block[:, p, :, t], layout.sizes.shape(layout.plan.step.parameters[name])
                    size = shape[1] if transposed else shape[0]
                    for of, matrix in self.pieces(params, name, shape):
                        yield from _across("panels", target, of, matrix.T if transposed else matrix, 0)
                    nothing = self.constant(0, (panel.groups * wide - size, length))
                    yield from _across("panels", target, *nothing, size)


def _sums_of(layout: Layout, features: int, sums: Array) -> Iterator[tuple[str, Array]]:
    """For each parameter the views of one task's sums that add up to its gradient."""
    plan, sizes, begins = layout.plan, layout.sizes, layout.sums
    deltas, end = plan.backward.slots["delta"], begins["kernel_gradients"]
    kernels = sums[end:].reshape(features, layout.input_deltas)
    for o in plan.outers:
        if o.operand.kind == "input":
            begin = layout.delta(o.delta)
            yield o.matrix, kernels[:, begin : begin + sizes.count(deltas[o.delta])].T
    for g in layout.recurrent_groups:
        block = sums[g.offset : g.offset + g.length * g.width].reshape(g.length, g.width)
        for o in g.outers:
            begin = layout.delta(o.delta) - g.first
            yield o.matrix, block[:, begin : begin + sizes.count(deltas[o.delta])].T
    begin = begins["column_gradients"]
    for name, delta in plan.column_sums:
        yield name, sums[begin : begin + sizes.count(deltas[delta])]
        begin += sizes.width(deltas[delta])
    for k, name in enumerate(plan.vector_gradients):
        dims, begin = plan.backward.slots["vector_gradient"][k], begins["vector_gradients"]
        begin += layout.backward.of(Place("vector_gradient", k))
        yield name, layout.view(sums[None], begin, dims)[0]


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


def _rows_of(layout: Layout, matrix: str) -> int:
    """How many rows a matrix has."""
    return layout.sizes.size(layout.plan.step.parameters[matrix][0])
