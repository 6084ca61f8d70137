"""A cell called with NumPy arrays: one timestep, checked and computed from the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._axes import learn
from ._dims import axes_text, known_size, size_of
from ._graph import FEATURES, SCALAR, Dims
from ._lookups import checked_integers, inside
from ._reference import one_step
from ._step import Step

Array = NDArray[Any]


@dataclass(frozen=True)
class Values:
    """The checked arguments of one step: the inputs by name ("" for the one without), the states, the sizes
    of the axes; `rows` is the shape of the batch, () for one row."""

    inputs: Mapping[str, Array]
    states: tuple[Array, ...]
    sizes: Mapping[str, int]
    rows: tuple[int, ...]

    def compute(self, step: Step, params: Mapping[str, Array]) -> tuple[Array, ...]:
        """Compute the new states, before them the output if that is no state."""
        named = dict(self.inputs)
        states = self.states
        if step.output:
            shape = (size_of(axis, self.sizes) for axis in step.dims_of(step.states[0]))
            states = (np.zeros((*self.rows, *shape), states[0].dtype), *states)
        return tuple(np.array(v) for v in one_step(step, named.pop("", None), states, params, named))


def checked_values(step: Step, values: tuple[Any, ...], params: Mapping[str, Any]) -> Values:
    """Return the arguments of one step, checked; TypeError or ValueError, naming the array, if they do not
    fit."""
    dims: dict[str, Dims] = {"x": FEATURES} if step.takes_features else {}
    dims |= step.inputs
    names = step.states[step.output :]
    expected = (*dims, *names)
    if len(values) != len(expected):
        raise TypeError(
            f"{step.name} takes {', '.join(expected)} before its parameters, got {len(values)} arrays"
        )
    arrays = [
        checked_integers(v, name)
        if name in step.integers
        else np.asarray(v, None if np.asarray(v).dtype.kind == "f" else np.float64)
        for name, v in zip(expected, values, strict=True)
    ]
    dims |= {name: step.dims_of(name) for name in names}
    if any(a.ndim < len(d) for a, d in zip(arrays, dims.values(), strict=True)):
        kinds = " and ".join(f"(…, {', '.join(d)})" for d in dict.fromkeys(dims.values()) if d != SCALAR)
        raise ValueError(f"{step.name}: {', '.join(expected)} must be arrays {kinds}, not scalars")
    rows = arrays[0].shape[: arrays[0].ndim - len(next(iter(dims.values())))]
    sizes: dict[str, int] = {}
    for name, array in zip(expected, arrays, strict=True):
        own = dims[name]
        learn([(own, array.shape[array.ndim - len(own) :])], sizes)
        wanted = (*rows, *(known_size(axis, sizes) for axis in own))
        if array.shape != wanted:
            kind = "state" if name in names else "input"
            raise ValueError(f"{step.name}: {kind} {name} has shape {array.shape}, expected {wanted}")
    shapes = [(own, np.shape(params[name])) for name, own in step.parameters.items() if name in params]
    step.learn(shapes, sizes)
    _check_params(step, params, {axis: max(1, size) for axis, size in sizes.items()})
    given = dict(zip(expected, arrays, strict=True))
    inputs = {
        "" if name == "x" and step.takes_features else name: given[name] for name in expected[: -len(names)]
    }
    for row in step.lookups:
        inside(given[row.integer], row, np.shape(params[row.table]), None)  # IndexError for what is no row
    return Values(inputs, tuple(arrays[-len(names) :]), sizes, rows)


def _check_params(step: Step, params: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    wanted = step.parameters
    if params.keys() != wanted.keys():
        missing, unknown = sorted(wanted.keys() - params.keys()), sorted(params.keys() - wanted.keys())
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing)
        wrong += [f"has no {', '.join(unknown)}"] * bool(unknown)
        raise TypeError(f"{step.name} {' and '.join(wrong)}; its parameters are {', '.join(wanted)}")
    for name, dims in wanted.items():
        shape = tuple(known_size(axis, sizes) for axis in dims)
        if np.shape(params[name]) != shape:
            expected = axes_text(dims) if -1 in shape else str(shape)
            raise ValueError(
                f"{step.name}: parameter {name} has shape {np.shape(params[name])}, expected {expected}"
            )
