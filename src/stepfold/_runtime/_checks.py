"""Checking what a user of NumPy gave, with errors that name the array, its shape and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._cell import Cell
from .._dims import known_size, size_of
from .._graph import Dims
from .._native import Array
from ._call import Call
from ._engine import engine_for
from ._inputs import Inputs, checked_inputs
from ._recipe import Recipe
from ._run import INDEX, Threads


@dataclass(frozen=True)
class Checked:
    """A checked call of `scan` or `record`; `single`: it was given one sequence without a batch axis;
    `tables`: the shapes of the parameters whose rows integers choose."""

    cell: Cell
    call: Call
    inputs: Inputs
    tables: Mapping[str, tuple[int, ...]]

    @property
    def single(self) -> bool:
        return self.inputs.single

    def single_or_batch(self, array: Array) -> Array:
        """Without the batch axis, if the call had none."""
        return array[0] if self.single else array


def check_cell(cell: object) -> None:
    """TypeError if it is no cell."""
    if not isinstance(cell, Cell):
        raise TypeError(
            "the first argument must be a cell, that is a function under @stepfold.cell or one of "
            f"stepfold.cells, not {type(cell).__name__}"
        )


def checked(
    cell: Cell,
    inputs: Any,
    params: Mapping[str, Any],
    initial_state: Sequence[Any] | None,
    lengths: Any,
    mask: Any,
    reverse: bool,
    table: Any,
    side: Any,
    threads: int | None,
) -> Checked:
    """Return the arguments of `scan` as a call; ValueError or TypeError for what does not fit."""
    check_cell(cell)
    given = checked_inputs(cell.step, inputs, table, params)
    dtype, single, sizes = given.dtype, given.single, dict(given.sizes)
    batch, time = given.rows
    beside = None if side is None else _checked_side(side, given.tokens, single, dtype)
    if beside is not None:
        sizes["features"] += beside.shape[-1]
    weights, sizes = checked_sizes(cell, params, dtype, sizes)
    if lengths is not None and mask is not None:
        raise ValueError("give lengths or mask, not both")
    kind, active = "all", None
    if lengths is not None:
        kind, active = "lengths", checked_lengths(np.atleast_1d(lengths) if single else lengths, batch)
    elif mask is not None:
        kind, active = "mask", checked_mask(np.asarray(mask)[None] if single else mask, batch, time)
    initial = _checked_states(cell, initial_state, () if single else (batch,), sizes, dtype)
    named = given.gathered(weights, _active_steps(kind, active, time) if cell.step.integers else None)
    step = cell.step.scanned
    sizes = cell.step.scanned_sizes(sizes)
    recipe = Recipe.of(step, sizes.pop("units", 1), sizes)
    recipe = recipe.but(
        reverse=bool(reverse),
        tokens=given.tokens is not None,
        side=beside is not None,
        active=kind,
        initial=bool(initial),
    )
    call = Call(
        engine_for(step, recipe.units, dtype, recipe.sizes),
        recipe,
        given.vectors,
        [np.asarray(weights[name], order="C") for name in step.parameters],
        given.tokens,
        active,
        [
            np.ascontiguousarray(state.reshape(batch, *of))
            for state, of in zip(initial, recipe.state_shapes, strict=False)
        ],
        side=beside,
        threads=Threads.own(threads),
        named=named,
    )
    tables = {name: weights[name].shape for name in cell.step.tables}
    return Checked(cell, call, given, tables)


def _active_steps(kind: str, active: Array | None, time: int) -> Array | None:
    """A mask (batch, time) of the timesteps that are active, None for all."""
    return np.arange(time) < active[:, None] if kind == "lengths" and active is not None else active


def checked_params(
    cell: Cell, params: Mapping[str, Any], dtype: np.dtype[Any], features: int | None = None
) -> tuple[dict[str, Array], int, int]:
    """Return a cell's parameters as arrays, and the features and units that they are for; errors as
    `checked_sizes`."""
    known = {} if features is None else {"features": features}
    arrays, sizes = checked_sizes(cell, params, dtype, known)
    return arrays, sizes.get("features", 1), sizes.get("units", 1)


def checked_sizes(
    cell: Cell, params: Mapping[str, Any], dtype: np.dtype[Any], known: Mapping[str, int] | None = None
) -> tuple[dict[str, Array], dict[str, int]]:
    """Return a cell's parameters as arrays, and the sizes of all axes of the cell; `known`: those that are
    known.

    ValueError or TypeError, naming the parameter, if one is missing, unknown, or of another shape or dtype.
    """
    wanted = cell.step.parameters
    if not isinstance(params, Mapping):
        raise TypeError(f"params must map names to arrays, as cell.init does, not {type(params).__name__}")
    missing = [name for name in wanted if name not in params]
    if missing:
        raise ValueError(
            f"params lacks {', '.join(missing)}; {cell.name} needs {', '.join(wanted)} (see cell.init)"
        )
    extra = sorted(set(params) - set(wanted))
    if extra:
        raise ValueError(f"{cell.name} has no parameter {', '.join(extra)}; it has {', '.join(wanted)}")
    arrays = {name: np.asarray(params[name]) for name in wanted}
    sizes = dict(known or {})
    cell.step.learn(((dims, arrays[name].shape) for name, dims in wanted.items()), sizes)
    for axis, size in sizes.items():
        if size < 1:
            raise ValueError(
                f"{cell.name} cannot work with {size} {axis}; inputs and params need at least one"
            )
    for name, dims in wanted.items():
        expected = tuple(known_size(axis, sizes) for axis in dims)
        if arrays[name].shape != expected:
            raise ValueError(
                f"{name} has shape {arrays[name].shape}, expected ({', '.join(dims)}) = {expected}"
            )
        if arrays[name].dtype != dtype:
            raise TypeError(f"{name} is {arrays[name].dtype}, not {dtype}; convert it with .astype")
    for axis in cell.step.own_axes:
        if axis not in sizes:
            named = "number of units" if axis == "units" else f"size of the axis {axis}"
            raise ValueError(
                f"{cell.name} has no parameter from which the {named} could be known; "
                f"declare one that has the axis {axis}"
            )
    return arrays, sizes


def checked_lengths(lengths: Any, batch: int) -> Array:
    """Return lengths as int64; TypeError or ValueError if they are not integers of this shape. Whether they
    are within the timesteps is checked where they are read."""
    found = np.asarray(lengths)
    if found.shape != (batch,):
        raise ValueError(f"lengths has shape {found.shape}, expected one integer a row, ({batch},)")
    if batch and not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"lengths must be integers, not {found.dtype.name}")
    return np.ascontiguousarray(found, INDEX)


def checked_mask(mask: Any, batch: int, time: int) -> Array:
    """Return a mask as it is; TypeError or ValueError if it is not of booleans, or of another shape."""
    found = np.asarray(mask)
    if found.shape != (batch, time):
        raise ValueError(f"mask has shape {found.shape}, expected (batch, time) = {(batch, time)}")
    if found.dtype != np.bool_:
        raise TypeError(f"mask must be of booleans, not {found.dtype.name}; write mask != 0")
    return np.ascontiguousarray(found)


def _checked_states(
    cell: Cell,
    given: Sequence[Any] | None,
    rows: tuple[int, ...],
    sizes: Mapping[str, int],
    dtype: np.dtype[Any],
) -> list[Array]:
    """The initial states; before them zeros for an output that is no state."""
    if given is None:
        return []
    if not hasattr(given, "__len__"):
        raise TypeError(f"initial_state must be one array a state, not {type(given).__name__}")
    if len(given) != len(cell.states):
        raise ValueError(
            f"initial_state has {len(given)} array(s), {cell.name} has {len(cell.states)} state(s): "
            f"{', '.join(cell.states)}"
        )
    found = []
    if cell.step.output:
        found.append(np.zeros((*rows, *shape_of(cell.step.dims_of(cell.step.states[0]), sizes)), dtype))
    for name, value in zip(cell.states, given, strict=True):
        array, shape = np.asarray(value), (*rows, *shape_of(cell.step.dims_of(name), sizes))
        if array.shape != shape:
            raise ValueError(f"initial state {name!r} has shape {array.shape}, expected {shape}")
        if array.dtype != dtype:
            raise TypeError(f"initial state {name!r} is {array.dtype}, not {dtype}; convert it with .astype")
        found.append(array)
    return found


def shape_of(dims: Dims, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a value of one row."""
    return tuple(size_of(axis, sizes) for axis in dims)


def _checked_side(side: Any, tokens: Array | None, single: bool, dtype: np.dtype[Any]) -> Array:
    found = np.asarray(side)
    if tokens is None:
        raise ValueError("side features go with a table; without one, put them into inputs")
    axes = tokens.shape[1:] if single else tokens.shape
    if found.ndim != len(axes) + 1 or found.shape[:-1] != axes or not found.shape[-1]:
        expected = "(time, side_features)" if single else "(batch, time, side_features)"
        raise ValueError(f"side has shape {found.shape}, expected {expected} for tokens of shape {axes}")
    if found.dtype != dtype:
        raise TypeError(f"side is {found.dtype}, not {dtype}; convert it with .astype")
    return np.ascontiguousarray(found[None] if single else found)
