"""Gradient flow: how much of a gradient is left after it has travelled back through the timesteps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._cell import Cell
from .._defaults import check_one_input, default_sizes
from .._dims import size_of
from .._runtime import record

Array = NDArray[np.float64]

ROWS = 64
"""Sequences that the norm is averaged over, each with a random direction of its own."""
FEATURES = 8
"""Features of the inputs where neither inputs nor parameters say how many."""


def gradient_flow(
    cell: Cell,
    units: int = 32,
    steps: int = 200,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    *,
    inputs: Any = None,
) -> Array:
    """Return the norm of ∂s_T/∂s_t for T − t = 0, 1, …, steps − 1: (steps,) float64.

    s_t is the whole state after timestep t: all states of the cell in one vector of n elements (h and c of an
    LSTM: n = 2 * units; matrices row after row). The norm is the Frobenius norm divided by √n, the factor by
    which the Jacobian stretches a random vector in root mean square: 1 for an identity or an orthogonal
    matrix. It is estimated as √mean ‖v ∂s_T/∂s_t‖² over 64 sequences with a random unit vector v each.

    `params` are the cell's (those of `cell.init` with the seed if left out; then `units` says how many
    units). `inputs` (batch, at least steps, features): what the cell reads, the last `steps` timesteps of it
    (standard normal numbers if left out). Everything is computed in float64, in which 0.1**200 is not yet 0.

    Theory: Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063. ValueError for
    steps below 1 or inputs that do not fit."""
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps must be an integer of at least 1, not {steps!r}")
    random = np.random.default_rng(seed)
    if inputs is None:
        inputs = random.standard_normal((ROWS, steps, _features(cell, params)))
    read = np.asarray(inputs, np.float64)
    if read.ndim != 3 or read.shape[1] < steps or not len(read):
        raise ValueError(
            f"inputs has shape {read.shape}, expected (batch, time, features) of at least {steps} timesteps"
        )
    if params is None:
        params = cell.init(read.shape[-1], units, seed=seed, **default_sizes(cell, units))
    check_one_input(cell)
    wide = {name: np.asarray(value, np.float64) for name, value in params.items()}
    n = sum(map(math.prod, _state_shapes(cell, wide, read.shape[-1], units)))
    directions = random.standard_normal((len(read), n))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gradients = state_gradients(cell, wide, read[:, -steps:], directions)  # (steps, B, n)
    norms: Array = np.sqrt(np.mean(np.sum(np.square(gradients), -1), -1))
    return norms


def state_gradients(cell: Cell, params: Mapping[str, Array], inputs: Array, last: Array) -> Array:
    """Return the gradient by the whole state after each timestep, given that by the last one.

    `inputs` (batch, steps, features), `last` (batch, states * units). The result (steps, batch, states *
    units): at k the gradient by the state k timesteps before the end. The sequence is recorded as `steps`
    sequences of one timestep each, and each hands its gradient to the one before."""
    batch, steps = inputs.shape[:2]
    shapes = _state_shapes(cell, params, inputs.shape[-1])
    states: Sequence[Array] = _parts(np.zeros_like(last), shapes)
    runs = []
    for t in range(steps):
        runs.append(record(cell, inputs[:, t : t + 1], params, initial_state=states, threads=1))
        states = runs[-1].states
    found = np.empty((steps, batch, last.shape[-1]))
    found[0] = last
    for k, run in enumerate(reversed(runs[1:]), 1):
        gradients = run.backward(state_gradients=_parts(found[k - 1], shapes)).initial_state
        found[k] = np.concatenate([gradient.reshape(batch, -1) for gradient in gradients], -1)
    return found


def _parts(together: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Return the states that lie side by side in an array (batch, elements)."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = zip(np.split(together, ends, -1), shapes, strict=True)
    return [np.ascontiguousarray(part.reshape(len(together), *shape)) for part, shape in parts]


def _features(cell: Cell, params: Mapping[str, Any] | None) -> int:
    """The number of features that the kernels among the parameters have."""
    for name, dims in cell.step.parameters.items():
        if params is not None and "features" in dims and name in params:
            return int(np.shape(params[name])[-1])
    return FEATURES


def _state_shapes(
    cell: Cell, params: Mapping[str, Array], features: int, units: int | None = None
) -> list[tuple[int, ...]]:
    """The shapes of the cell's states of one row, which `record` checks; `units` where no parameter tells."""
    sizes = {"features": features}
    wanted = cell.step.parameters.items()
    given = ((dims, np.shape(params[name])) for name, dims in wanted if name in params)
    cell.step.learn((pair for pair in given if len(pair[0]) == len(pair[1])), sizes)
    sizes.setdefault("units", units or 1)
    return [tuple(size_of(axis, sizes) for axis in cell.step.dims_of(state)) for state in cell.states]
