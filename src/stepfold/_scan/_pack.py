"""Parameters laid out as the kernels read them, and gradients taken out of the kernels' sums."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._llvm import INPUT_BLOCKS, Layout, Panel
from ._calls import Job
from ._lists import turn

Array = NDArray[Any]
Params = Mapping[str, Array]
_LARGE = 4096  # numbers from which on a matrix is turned by a kernel of our own


def pack_panels(panels: Sequence[Panel], lanes: int, params: Params, out: Array) -> None:
    """Write recurrent matrices as panels [groups][parts · length][terms][blocks · lanes], zeros where units
    end."""
    for panel in panels:
        wide, length = panel.blocks * lanes, panel.length
        block = out[panel.offset : panel.offset + panel.size(lanes)]
        block = block.reshape(panel.groups, len(panel.parts), length, len(panel.parts[0]), wide)
        for p, part in enumerate(panel.parts):
            for t, (name, transposed) in enumerate(part):
                matrix = params[name]
                _fill(block[:, p, :, t], matrix.T if transposed else matrix)


def _fill(target: Array, matrix: Array) -> None:
    """target [groups][length][wide] from matrix (units, length)."""
    groups, length, wide = target.shape
    units = matrix.shape[0]
    whole = units // wide
    if whole:
        target[:whole] = matrix[: whole * wide].reshape(whole, wide, length).transpose(0, 2, 1)
    if whole < groups:
        target[whole:] = 0
        target[whole, :, : units - whole * wide] = matrix[whole * wide :].T


def pack_vectors(names: Sequence[str], padded: int, params: Params) -> Array:
    """Vectors [names][padded units]; what pads is 1, so that nothing is divided by zero there."""
    out: Array = np.ones(
        (max(1, len(names)), padded), next(iter(params.values())).dtype if params else np.float32
    )
    for k, name in enumerate(names):
        out[k, : len(params[name])] = params[name]
    return out


def pack_projection(layout: Layout, params: Params, features: int, dtype: Any) -> tuple[Array, Array]:
    """The input's kernels as panels [groups][features][blocks · lanes] over all projections, and their
    vectors."""
    padded, units = layout.shape.padded, layout.shape.units
    projections = layout.plan.projections
    stack = np.zeros((len(projections), padded, features), dtype)
    bias = np.zeros((max(1, len(projections)), padded), dtype)
    for k, projection in enumerate(projections):
        for name in projection.kernels:
            stack[k, :units] += params[name]
        for name in projection.vectors:
            bias[k, :units] += params[name]
    wide = layout.projection_blocks[1] * layout.shape.lanes
    panels = np.ascontiguousarray(stack.reshape(-1, wide, features).transpose(0, 2, 1))
    return panels, bias


def pack_input_gradient(layout: Layout, params: Params, features: int, dtype: Any) -> Array:
    """The input's kernels, transposed, as panels [groups][terms · units][blocks · lanes] over the
    features."""
    terms = [o.matrix for o in layout.plan.outers if o.operand.kind == "input"]
    wide = INPUT_BLOCKS * layout.shape.lanes
    groups = -(-features // wide)
    out = np.zeros((groups, len(terms), layout.shape.units, wide), dtype)
    for t, name in enumerate(terms):
        matrix = params[name]  # (units, features)
        whole = features // wide
        if whole:
            out[:whole, t] = matrix[:, : whole * wide].reshape(-1, whole, wide).transpose(1, 0, 2)
        if whole < groups:
            out[whole, t, :, : features - whole * wide] = matrix[:, whole * wide :]
    return out


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
        elif value.ndim == 2 and value.size >= _LARGE:
            turn(target[name], value)
        else:
            target[name][...] = value
        written.add(name)
