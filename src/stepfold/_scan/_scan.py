"""`scan` and `record`: a cell over a batch of sequences, NumPy in and out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._cell import Cell
from .._dtype import checked_dtype
from ._checkpoint import Checkpoints
from ._memory import lend
from ._recurrence import Recurrence, recurrence
from ._schedule import Schedule

Array = NDArray[Any]


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss: `inputs` like the inputs (with a table of vectors: like the table), `params` name
    → array, `initial_state` one (batch, units) a state, none if the call gave no initial state."""

    inputs: Array
    params: dict[str, Array]
    initial_state: tuple[Array, ...]


@dataclass(frozen=True)
class _Call:
    """A checked call: everything in the shape and dtype that the kernels want."""

    cell: Cell
    recurrence: Recurrence
    schedule: Schedule
    inputs: Array
    tokens: Array | None
    params: dict[str, Array]
    initial: list[Array | None]
    single: bool
    threads: int | None

    @property
    def batch(self) -> int:
        return self.schedule.batch

    def states(self) -> list[Array]:
        """Room for one value a state."""
        return [
            np.empty((self.batch, self.recurrence.units), self.recurrence.dtype) for _ in self.cell.states
        ]

    def outputs(self) -> Array:
        """Room for all outputs."""
        return np.empty((*self.schedule.shape, self.recurrence.units), self.recurrence.dtype)

    def shaped(self, array: Array) -> Array:
        """Without the batch axis, if the call had none."""
        return array[0] if self.single else array


def scan(
    cell: Cell,
    inputs: Any,
    params: Mapping[str, Any],
    *,
    initial_state: Sequence[Any] | None = None,
    lengths: Any = None,
    mask: Any = None,
    reverse: bool = False,
    return_sequences: bool = False,
    return_state: bool = False,
    table: Any = None,
    threads: int | None = None,
) -> Any:
    """Fold a cell over sequences.

    It means, for every row of the batch::

        for t in reversed(range(time)) if reverse else range(time):
            if mask[t]:
                state = cell(inputs[t], *state, **params)
            outputs[t] = state[0]

    `inputs` (batch, time, features), or (time, features) for one sequence; with `table` (words, features)
    whole numbers (batch, time) that choose rows of it. `params` as `cell.parameter_shapes` says.
    `initial_state` one (batch, units) a state, zeros if left out. `lengths` (batch,): the first so many
    timesteps work; or `mask` (batch, time) of bools: those that are true work; the others keep the state and
    repeat the output. float32 or float64, the same in all of them. `threads`: at most so many (all processors
    if left out).

    Returns the output after the last timestep (batch, units), or with `return_sequences` after every one
    (batch, time, units); with `return_state` the tuple (output, *last states). Raises ValueError or TypeError
    for what does not fit."""
    call = _checked(cell, inputs, params, initial_state, lengths, mask, reverse, table, threads)
    outputs = call.outputs() if return_sequences else None
    last = call.states()
    call.recurrence.forward(
        call.schedule,
        call.inputs,
        call.params,
        call.initial,
        tokens=call.tokens,
        outputs=outputs,
        last=last,
        threads=threads,
    )
    output = call.shaped(last[0] if outputs is None else outputs)
    return (output, *map(call.shaped, last)) if return_state else output


def record(
    cell: Cell,
    inputs: Any,
    params: Mapping[str, Any],
    *,
    initial_state: Sequence[Any] | None = None,
    lengths: Any = None,
    mask: Any = None,
    reverse: bool = False,
    return_sequences: bool = False,
    table: Any = None,
    threads: int | None = None,
    checkpoint: bool = False,
) -> Run:
    """Fold a cell over sequences like `scan`, and keep what the gradient needs: `run.output`, `run.states`,
    `run.backward(…)`.

    With `checkpoint` only the states of every √time-th timestep (of few rows, somewhat fewer) are kept, and
    the rest is computed again on the way back: memory in √time, some third more time."""
    call = _checked(cell, inputs, params, initial_state, lengths, mask, reverse, table, threads)
    return Run(call, return_sequences, checkpoint)


class Run:
    """A recorded `scan`: `output` as `scan` returns it, `states` the last states."""

    def __init__(self, call: _Call, return_sequences: bool, checkpoint: bool) -> None:
        self._call, self._sequences = call, return_sequences
        recurrence, schedule = call.recurrence, call.schedule
        outputs = call.outputs() if return_sequences else None
        last = call.states()
        self._way_back: Callable[..., None]
        common: dict[str, Any] = {
            "tokens": call.tokens,
            "outputs": outputs,
            "last": last,
            "threads": call.threads,
        }
        if checkpoint:
            run = Checkpoints(recurrence, schedule, call.inputs, call.params, call.initial, **common)
            self._way_back = run.backward
        else:
            kept = lend(recurrence.kept_size(schedule.batch, schedule.time), recurrence.dtype)
            recurrence.forward(schedule, call.inputs, call.params, call.initial, kept=kept, **common)
            self._way_back = functools.partial(
                recurrence.backward,
                schedule,
                call.inputs,
                call.params,
                kept,
                tokens=call.tokens,
                threads=call.threads,
            )
        self.output: Array = call.shaped(last[0] if outputs is None else outputs)
        self.states: tuple[Array, ...] = tuple(map(call.shaped, last))

    def backward(
        self, output_gradient: Any = None, state_gradients: Sequence[Any] | None = None
    ) -> Gradients:
        """Return the gradients of a loss whose gradient by `output` and by `states` is given (None: zero)."""
        call = self._call
        given: list[Array | None] = [None] * len(call.cell.states)
        if state_gradients is not None and len(state_gradients) > len(given):
            raise ValueError(
                f"state_gradients has {len(state_gradients)} arrays, "
                f"{call.cell.name} has {len(given)} state(s): {', '.join(call.cell.states)}"
            )
        for s, gradient in enumerate(() if state_gradients is None else state_gradients):
            given[s] = (
                None if gradient is None else self._like(gradient, self.states[s], f"state_gradients[{s}]")
            )
        by_output = (
            None if output_gradient is None else self._like(output_gradient, self.output, "output_gradient")
        )
        if by_output is not None and not self._sequences:
            given[0] = by_output if given[0] is None else by_output + given[0]
            by_output = None
        inputs = np.empty_like(call.inputs)
        params = {name: np.empty_like(value) for name, value in call.params.items()}
        initial = [None if given is None else np.empty_like(given) for given in call.initial]
        self._way_back(
            output_gradient=by_output,
            last_gradient=given,
            inputs_gradient=inputs,
            params_gradient=params,
            initial_gradient=initial,
        )
        to_inputs = inputs if call.tokens is not None else call.shaped(inputs)
        return Gradients(to_inputs, params, tuple(call.shaped(g) for g in initial if g is not None))

    def _like(self, gradient: Any, value: Array, name: str) -> Array:
        array = np.ascontiguousarray(gradient, value.dtype)
        if array.shape != value.shape:
            raise ValueError(
                f"{name} has shape {array.shape}, expected {value.shape}, like what it is the gradient of"
            )
        return array[None] if self._call.single else array


def _checked(
    cell: Cell,
    inputs: Any,
    params: Mapping[str, Any],
    initial_state: Sequence[Any] | None,
    lengths: Any,
    mask: Any,
    reverse: bool,
    table: Any,
    threads: int | None,
) -> _Call:
    if not isinstance(cell, Cell):
        raise TypeError(
            f"the first argument must be a cell (a function under @cell), not {type(cell).__name__}"
        )
    values = np.asarray(inputs)
    vectors = values if table is None else np.asarray(table)
    dtype = checked_dtype(vectors.dtype)
    tokens = None
    if table is not None:
        tokens, vectors = _tokens(values, vectors)
        single = tokens.ndim == 1
        tokens = tokens[None] if single else tokens
        batch, time = tokens.shape
    else:
        if values.ndim not in (2, 3):
            raise ValueError(
                f"inputs has shape {values.shape}, expected (batch, time, features) or (time, features)"
            )
        single = values.ndim == 2
        vectors = values[None] if single else values
        batch, time = vectors.shape[:2]
    features = vectors.shape[-1]
    checked, _, units = checked_params(cell, params, dtype, features)
    if single:
        lengths = None if lengths is None else np.atleast_1d(lengths)
        mask = None if mask is None else np.asarray(mask)[None]
    schedule = Schedule.of(batch, time, lengths=lengths, mask=mask, reverse=reverse)
    initial = _initial(cell, initial_state, (units,) if single else (batch, units), dtype)
    ready = recurrence(cell.step, units, dtype)
    return _Call(
        cell,
        ready,
        schedule,
        np.ascontiguousarray(vectors),
        tokens,
        checked,
        [None if s is None else s.reshape(batch, units) for s in initial],
        single,
        threads,
    )


def checked_params(
    cell: Cell, params: Mapping[str, Any], dtype: np.dtype[Any], features: int | None = None
) -> tuple[dict[str, Array], int, int]:
    """Return a cell's parameters as arrays, and the features and units that they are for.

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
    sizes: dict[str, int] = {} if features is None else {"features": features}
    for name, dims in wanted.items():
        if arrays[name].ndim == len(dims):
            for axis, size in zip(dims, arrays[name].shape, strict=True):
                sizes.setdefault(axis, size)
    for axis, size in sizes.items():
        if size < 1:
            raise ValueError(
                f"{cell.name} cannot work with {size} {axis}; inputs and params need at least one"
            )
    for name, dims in wanted.items():
        expected = tuple(sizes.get(axis, -1) for axis in dims)
        if arrays[name].shape != expected:
            raise ValueError(
                f"{name} has shape {arrays[name].shape}, expected ({', '.join(dims)}) = {expected}"
            )
        if arrays[name].dtype != dtype:
            raise TypeError(f"{name} is {arrays[name].dtype}, not {dtype}; convert it with .astype")
    if "units" not in sizes:
        raise ValueError(f"{cell.name} has no parameter from which the number of units could be known")
    return arrays, sizes.get("features", 1), sizes["units"]


def _initial(
    cell: Cell, given: Sequence[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> list[Array | None]:
    if given is None:
        return [None] * len(cell.states)
    if not hasattr(given, "__len__"):
        raise TypeError(f"initial_state must be one array a state, not {type(given).__name__}")
    if len(given) != len(cell.states):
        raise ValueError(
            f"initial_state has {len(given)} array(s), {cell.name} has {len(cell.states)} state(s): "
            f"{', '.join(cell.states)}"
        )
    found: list[Array | None] = []
    for name, value in zip(cell.states, given, strict=True):
        array = np.asarray(value)
        if array.shape != shape:
            raise ValueError(f"initial state {name!r} has shape {array.shape}, expected {shape}")
        if array.dtype != dtype:
            raise TypeError(f"initial state {name!r} is {array.dtype}, not {dtype}; convert it with .astype")
        found.append(array)
    return found


def _tokens(tokens: Array, table: Array) -> tuple[Array, Array]:
    if not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(
            f"with a table, inputs are whole numbers that choose its rows, not {tokens.dtype.name}"
        )
    if tokens.ndim not in (1, 2) or table.ndim != 2:
        raise ValueError(
            f"inputs has shape {tokens.shape} and table {table.shape}, "
            "expected (batch, time) and (words, features)"
        )
    if tokens.size and (tokens.min() < 0 or tokens.max() >= len(table)):
        raise ValueError(
            f"inputs run from {tokens.min()} to {tokens.max()}; the table has rows 0…{len(table) - 1} only"
        )
    return tokens if tokens.dtype in (np.int32, np.int64) else tokens.astype(np.int64), table
