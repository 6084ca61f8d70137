"""Parameters laid out as the kernels read them, and gradients taken out of the kernels' sums: as moves
between named arrays, planned once for each form of the parameters."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._llvm import INPUT_BLOCKS, Kernel, Layout, Shape
from ._memory import Space
from ._moves import Move, Pieces, named

Array = NDArray[Any]
Room = dict[str, Array]
"""The arrays of a kernel that parameters are moved to, named by the kernel's words; beside them
`CONSTANTS`."""
CONSTANTS = "0 and 1"


@functools.cache
def constants(dtype: np.dtype[Any]) -> Array:
    """The array called `CONSTANTS`."""
    return np.arange(2, dtype=dtype)


def forward_room(layout: Layout, kernel: Kernel, features: int, space: Space) -> Room:
    """Room for the parameters of a kernel of the way forward."""
    return {
        "panels": space.take("panels", kernel.panel_size),
        "input_panel": space.take("input_panel", features * layout.projection_row),
        "vectors": space.take("vectors", len(layout.plan.vectors) * layout.shape.padded),
        "input_bias": space.take("input_bias", layout.projection_row),
        CONSTANTS: constants(space.dtype),
    }


def forward_moves(
    layout: Layout, kernel: Kernel, features: int, room: Room, params: Pieces
) -> Iterator[Move]:
    """What lays the parameters out in `forward_room`."""
    yield from _to_panels(kernel, layout.shape.lanes, params, room)
    yield from _to_vectors(layout.plan.vectors, layout.shape, params, room)
    padded, units, projections = layout.shape.padded, layout.shape.units, layout.plan.projections
    # [groups][features][blocks · lanes] over all projections
    wide = layout.projection_blocks[1] * layout.shape.lanes
    panels = room["input_panel"][: features * layout.projection_row].reshape(-1, features, wide)
    bias = room["input_bias"][: layout.projection_row].reshape(-1, padded)
    for k, projection in enumerate(projections):
        for name in projection.kernels:
            for of, matrix in _pieces(params, name, room, (units, features)):
                yield from _across("input_panel", panels, of, matrix, k * padded)
        yield from _across(
            "input_panel", panels, *_constant(room, 0, (padded - units, features)), k * padded + units
        )
        yield Move("input_bias", bias[k, units:], *_constant(room, 0, (padded - units,)))
        yield Move("input_bias", bias[k, :units], *_constant(room, 0, (units,)))
        for name in projection.vectors:
            for of, vector in _pieces(params, name, room, (units,)):
                yield Move("input_bias", bias[k, :units], of, vector)


def backward_room(layout: Layout, kernel: Kernel, features: int, space: Space) -> Room:
    """Room for the parameters of the kernels of the way back."""
    wide = INPUT_BLOCKS * layout.shape.lanes
    inputs = -(-features // wide) * wide * layout.shape.units * len(_input_matrices(layout))
    return {
        "panels": space.take("panels", kernel.panel_size),
        "input_panel": space.take("input_panel", inputs),
        "vectors": space.take("vectors", len(layout.plan.backward_vectors) * layout.shape.padded),
        CONSTANTS: constants(space.dtype),
    }


def backward_moves(
    layout: Layout, kernel: Kernel, features: int, room: Room, params: Pieces
) -> Iterator[Move]:
    """What lays the parameters out in `backward_room`."""
    yield from _to_panels(kernel, layout.shape.lanes, params, room)
    yield from _to_vectors(layout.plan.backward_vectors, layout.shape, params, room)
    # the input's kernels, transposed: [groups][terms · units][blocks · lanes] over the features
    terms, units = _input_matrices(layout), layout.shape.units
    wide = INPUT_BLOCKS * layout.shape.lanes
    groups = -(-features // wide)
    panels = room["input_panel"][: groups * len(terms) * units * wide]
    panels = panels.reshape(groups, len(terms), units, wide)
    for t, name in enumerate(terms):
        for of, matrix in _pieces(params, name, room, (units, features)):
            yield from _across("input_panel", panels[:, t], of, matrix.T, 0)
        nothing = _constant(room, 0, (groups * wide - features, units))
        yield from _across("input_panel", panels[:, t], *nothing, features)


def gradient_moves(
    layout: Layout, features: int, sums: Mapping[str, Array], targets: Pieces
) -> Iterator[Move]:
    """What writes the sums of all threads, of any names, into the parameters' gradients."""
    plan, units, padded = layout.plan, layout.shape.units, layout.shape.padded
    begins, untouched = layout.sums, set(targets)
    for of, mine in sums.items():
        if of == CONSTANTS:
            continue
        recurrent, columns, vectors, kernels = np.split(
            mine[: layout.sums_size(features)], [*begins.values()][1:]
        )
        columns, vectors = columns.reshape(-1, padded), vectors.reshape(-1, padded)
        kernels = kernels.reshape(features, -1, padded)
        found = [(o.matrix, kernels[:, o.delta, :units].T) for o in plan.outers if o.operand.kind == "input"]
        for g in layout.recurrent_groups:
            block = recurrent[g.offset : g.offset + units * g.slots * padded]
            block = block.reshape(units, g.slots, padded)
            found += [(o.matrix, block[:, o.delta - g.first_delta, :units].T) for o in g.outers]
        found += [(name, columns[k, :units]) for k, (name, _) in enumerate(plan.column_sums)]
        found += [(name, vectors[k, :units]) for k, name in enumerate(plan.vector_gradients)]
        for name, value in found:
            untouched.discard(name)
            for k, piece in enumerate(targets.get(name, ())):
                yield Move(named(name, k), piece, of, value)
    for name in untouched:
        for k, piece in enumerate(targets[name]):
            yield Move(named(name, k), piece, *_constant(sums, 0, piece.shape))


def _constant(room: Mapping[str, Array], number: int, shape: tuple[int, ...]) -> tuple[str, Array]:
    return CONSTANTS, np.broadcast_to(room[CONSTANTS][number : number + 1], shape)


def _pieces(
    params: Pieces, name: str, room: Mapping[str, Array], shape: tuple[int, ...]
) -> list[tuple[str, Array]]:
    """What adds up to a parameter of this shape."""
    found = [(named(name, k), piece) for k, piece in enumerate(params[name])]
    return found or [_constant(room, 0, shape)]


def _to_vectors(names: Sequence[str], shape: Shape, params: Pieces, room: Room) -> Iterator[Move]:
    """Vectors [names][padded units]; what pads is 1, so that nothing is divided by zero there."""
    units, padded = shape.units, shape.padded
    vectors = room["vectors"][: len(names) * padded].reshape(-1, padded)
    for vector, name in zip(vectors, names, strict=True):
        for of, piece in _pieces(params, name, room, (units,)):
            yield Move("vectors", vector[:units], of, piece)
        yield Move("vectors", vector[units:], *_constant(room, 1, (padded - units,)))


def _to_panels(kernel: Kernel, lanes: int, params: Pieces, room: Room) -> Iterator[Move]:
    """Recurrent matrices as panels [groups][parts · length][terms][blocks · lanes], zeros where units end."""
    for panel in kernel.panels:
        wide, length = panel.blocks * lanes, panel.length
        block = room["panels"][panel.offset : panel.offset + panel.size(lanes)]
        block = block.reshape(panel.groups, len(panel.parts), length, len(panel.parts[0]), wide)
        for p, part in enumerate(panel.parts):
            for t, (name, transposed) in enumerate(part):
                target = block[:, p, :, t]
                for of, matrix in _pieces(params, name, room, (length, length)):
                    yield from _across("panels", target, of, matrix.T if transposed else matrix, 0)
                nothing = _constant(room, 0, (panel.groups * wide - length, length))
                yield from _across("panels", target, *nothing, length)


def _across(to: str, target: Array, of: str, matrix: Array, first: int) -> Iterator[Move]:
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
            yield Move(to, target[group : group + whole], of, rows)
        else:
            yield Move(to, target[group, :, lane : lane + some], of, rows.T)
        row += some


def _input_matrices(layout: Layout) -> list[str]:
    return [o.matrix for o in layout.plan.outers if o.operand.kind == "input"]
