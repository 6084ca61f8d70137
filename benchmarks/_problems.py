"""The problems: a cell with random weights over a random batch, and its number of operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import stepfold
from stepfold._defaults import default_sizes
from stepfold._dims import size_of
from stepfold._gradient import backward

Array = NDArray[Any]
Shape = tuple[int, int, int, int]

SHAPES: tuple[Shape, ...] = (
    (32, 500, 32, 32),
    (32, 200, 64, 64),
    (64, 100, 128, 128),
    (32, 100, 256, 256),
    (32, 50, 512, 512),
    (128, 100, 128, 128),
)
"""(batch, time, features, units)."""


def read_shape(text: str) -> Shape:
    """Read "batch,time,features,units"."""
    batch, time, features, units = map(int, text.split(","))
    return batch, time, features, units


@dataclass(frozen=True)
class Problem:
    """A cell over a batch: `inputs` (batch, time, features), `output_gradient` (batch, time, units).

    `recurrent_mask` (batch, units) is the mask of recurrent dropout, or None without it.
    """

    cell: stepfold.Cell
    shape: Shape
    inputs: Array
    params: dict[str, Array]
    output_gradient: Array
    recurrent_mask: Array | None = None


def problem(cell: stepfold.Cell, shape: Shape, *, dropout: float = 0.0, seed: int = 7) -> Problem:
    """Return a float32 problem with random inputs, weights (no two gates alike) and output gradient."""
    batch, time, features, units = shape
    random = np.random.default_rng(seed)
    params = cell.init(features, units, seed=seed, **default_sizes(cell, units))
    for value in params.values():
        if value.ndim == 1:
            value += 0.1 * random.standard_normal(value.shape)
    mask = (random.random((batch, units)) >= dropout).astype(np.float32) / np.float32(1 - dropout)
    return Problem(
        cell,
        shape,
        random.standard_normal((batch, time, features)).astype(np.float32),
        params,
        random.standard_normal((batch, time, units)).astype(np.float32) / np.float32(time),
        mask if dropout else None,
    )


def operations(cell: stepfold.Cell, shape: Shape, *, training: bool) -> float:
    """Count the arithmetic of one pass: one for an operation on an element, two for a multiply-and-add of a
    product.

    Training adds what the derived backward step computes beyond the forward one, and the sums of the weights'
    gradients.
    """
    batch, time, features, units = shape
    others = default_sizes(cell, units)
    size = {"units": units, "features": features, **others}

    def elements(node: Any) -> int:
        return int(np.prod([size_of(axis, size) for axis in node.dims]))

    def count(node: Any) -> int:
        if not node.inputs:
            return 0
        if node.op.startswith(("matmul", "matvec")):
            return 2 * elements(node.inputs[0])
        return max(elements(node), elements(node.inputs[0]))

    forward = cell.step.nodes
    total = sum(map(count, forward))
    if training:
        backward_step = backward(cell.step)
        of_forward = set(map(id, forward))
        total += sum(count(node) for node in backward_step.nodes if id(node) not in of_forward)
        shapes = cell.parameter_shapes(features=features, units=units, **others)
        total += sum(
            2 * len(pairs) * int(np.prod(shapes[name])) for name, pairs in backward_step.matrices.items()
        )
        total += sum(units for _ in backward_step.vectors)
    return float(total) * batch * time
