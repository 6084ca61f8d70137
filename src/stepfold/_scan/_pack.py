"""Parameters laid out as the kernels read them, and gradients taken out of the kernels' sums."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._llvm import INPUT_BLOCKS, Layout, Panel
from ._calls import Job, run_jobs
from ._lists import turn

Array = NDArray[Any]
Params = Mapping[str, Array]
Pair = tuple[Array, Array]
"""(to, from), of one shape with three axes: a copy still to be made."""
_LARGE = 4096  # numbers from which on a matrix is copied by a kernel of our own
_SHARED = 100_000  # numbers from which on a second thread helps to copy


def copy_all(pairs: Sequence[Pair], threads: int) -> None:
    """Make copies, on so many threads if there is much to copy."""
    if threads == 1 or sum([target.size for target, _ in pairs]) < _SHARED:
        for pair in pairs:
            _copy(*pair)
        return
    pairs = sorted(pairs, key=lambda pair: -pair[0].size)
    run_jobs([functools.partial(_copy, *pair) for pair in pairs], threads)


def _copy(target: Array, source: Array) -> None:
    """Make a copy; what lies across in the other is turned by a kernel, which NumPy does slowly."""
    side = target.itemsize
    if target.strides[1] == side:
        target, source = target.swapaxes(1, 2), source.swapaxes(1, 2)
    if target.size >= _LARGE and target.strides[2] == source.strides[1] == side:
        turn(target, source)
    else:
        target[...] = source


def pack_panels(panels: Sequence[Panel], lanes: int, params: Params, out: Array) -> list[Pair]:
    """The copies that write recurrent matrices as panels [groups][parts · length][terms][blocks · lanes],
    zeros where units end."""
    pairs: list[Pair] = []
    for panel in panels:
        wide, length = panel.blocks * lanes, panel.length
        block = out[panel.offset : panel.offset + panel.size(lanes)]
        block = block.reshape(panel.groups, len(panel.parts), length, len(panel.parts[0]), wide)
        if length % wide:
            block[-1] = 0
        for p, part in enumerate(panel.parts):
            for t, (name, transposed) in enumerate(part):
                matrix = params[name]
                pairs += _across(block[:, p, :, t], matrix.T if transposed else matrix, 0)
    return pairs


def _across(target: Array, matrix: Array, first: int) -> list[Pair]:
    """The copies that lay the rows of a matrix (units, length) across target [groups][length][wide], the
    first of them in lane `first` of all groups' lanes."""
    pairs, row = [], 0
    units, length = matrix.shape
    wide = target.shape[2]
    while row < units:
        group, lane = divmod(first + row, wide)
        whole = 0 if lane else (units - row) // wide
        some = whole * wide or min(wide - lane, units - row)
        rows = matrix[row : row + some]
        if whole:
            rows = rows.reshape(whole, wide, length).transpose(0, 2, 1)
            pairs.append((target[group : group + whole], rows))
        else:
            pairs.append((target[group : group + 1, :, lane : lane + some], rows.T[None]))
        row += some
    return pairs


def pack_vectors(names: Sequence[str], padded: int, params: Params) -> Array:
    """Vectors [names][padded units]; what pads is 1, so that nothing is divided by zero there."""
    out: Array = np.ones(
        (max(1, len(names)), padded), next(iter(params.values())).dtype if params else np.float32
    )
    for k, name in enumerate(names):
        out[k, : len(params[name])] = params[name]
    return out


def input_panel_size(layout: Layout, features: int) -> int:
    """How many numbers the panels of `pack_projection` hold."""
    return features * layout.projection_row


def pack_projection(layout: Layout, params: Params, features: int, out: Array) -> tuple[list[Pair], Array]:
    """The copies that write the input's kernels as panels [groups][features][blocks · lanes] over all
    projections, and their vectors."""
    padded, units = layout.shape.padded, layout.shape.units
    projections = layout.plan.projections
    wide = layout.projection_blocks[1] * layout.shape.lanes
    panels = out[: input_panel_size(layout, features)].reshape(-1, features, wide)
    bias = np.zeros((max(1, len(projections)), padded), out.dtype)
    if units < padded:
        panels[...] = 0
    pairs: list[Pair] = []
    for k, projection in enumerate(projections):
        matrices = [params[name] for name in projection.kernels]
        pairs += _across(panels, functools.reduce(np.add, matrices), k * padded)
        for name in projection.vectors:
            bias[k, :units] += params[name]
    return pairs, bias


def input_gradient_size(layout: Layout, features: int) -> int:
    """How many numbers the panels of `pack_input_gradient` hold."""
    wide = INPUT_BLOCKS * layout.shape.lanes
    return -(-features // wide) * wide * layout.shape.units * len(_input_matrices(layout))


def pack_input_gradient(layout: Layout, params: Params, features: int, out: Array) -> list[Pair]:
    """The copies that write the input's kernels, transposed, as panels [groups][terms · units][blocks ·
    lanes] over the features."""
    terms = _input_matrices(layout)
    wide = INPUT_BLOCKS * layout.shape.lanes
    panels = out[: input_gradient_size(layout, features)]
    panels = panels.reshape(-(-features // wide), len(terms), layout.shape.units, wide)
    if features % wide:
        panels[-1] = 0
    pairs: list[Pair] = []
    for t, name in enumerate(terms):
        pairs += _across(panels[:, t], params[name].T, 0)
    return pairs


def _input_matrices(layout: Layout) -> list[str]:
    return [o.matrix for o in layout.plan.outers if o.operand.kind == "input"]


def write_gradients(layout: Layout, features: int, sums: Mapping[str, Array], target: Params) -> list[Job]:
    """Return two jobs that write sums into the parameters' gradients, of any strides, each overwritten.

    The first is for the input's kernels, the second for everything else.
    """
    plan, units, padded = layout.plan, layout.shape.units, layout.shape.padded
    recurrent = sums["recurrent_gradients"]
    kernels = sums["kernel_gradients"][: features * plan.input_deltas * padded].reshape(features, -1, padded)
    columns = sums["column_gradients"][: len(plan.column_sums) * padded].reshape(-1, padded)
    vectors = sums["vector_gradients"][: len(plan.vector_gradients) * padded].reshape(-1, padded)
    of_inputs = [(o.matrix, kernels[:, o.delta, :units].T) for o in plan.outers if o.operand.kind == "input"]
    others: list[tuple[str, Array]] = []
    for g in layout.recurrent_groups:
        size = units * g.slots * padded
        block = recurrent[g.offset : g.offset + size].reshape(units, g.slots, padded)
        others += [(o.matrix, block[:, o.delta - g.first_delta, :units].T) for o in g.outers]
    others += [(name, columns[k, :units]) for k, (name, _) in enumerate(plan.column_sums)]
    others += [(name, vectors[k, :units]) for k, name in enumerate(plan.vector_gradients)]
    for name in target.keys() - dict(of_inputs + others).keys():
        target[name][...] = 0
    return [functools.partial(_write, pairs, target) for pairs in (of_inputs, others)]


def _write(pairs: Sequence[tuple[str, Array]], target: Params) -> None:
    """Write each value, or add it if its parameter has one already."""
    written: set[str] = set()
    for name, value in pairs:
        if name not in target:
            continue
        if name in written:
            target[name][...] += value
        elif value.ndim == 2:
            _copy(target[name][None], value[None])
        else:
            target[name][...] = value
        written.add(name)
