"""`scan` and `record`: a cell over a batch of sequences, NumPy in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._cell import Cell
from .._native import Array, acquire
from ._call import Call
from ._checkpoint import Checkpoints
from ._checks import Checked, checked


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss: `inputs` like the inputs (with a table of vectors: like the table; of a cell with
    several inputs a tuple; None for integers), `params` name → array, `initial_state` one (batch, units) a
    state, or as wide as the state is, none if the call gave no initial state, `side` like the side features,
    None if the call gave none."""

    inputs: Any
    params: dict[str, Array]
    initial_state: tuple[Array, ...]
    side: Array | None = None


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
    side: Any = None,
    threads: int | None = None,
) -> Any:
    """Run a cell over sequences.

    It means, for every row of the batch::

        for t in reversed(range(time)) if reverse else range(time):
            if mask[t]:
                state = cell(inputs[t], *state, **params)
            outputs[t] = state[0]

    `inputs` (batch, time, features), or (time, features) for one sequence; with `table` (vocabulary_size,
    features) integers (batch, time) that choose rows of it, to each of which `side` (batch, time,
    side_features), if given, is appended. A cell with several inputs takes a tuple of them, each (batch,
    time, …) as the cell declares it, one number a timestep also as (batch, time), an integer that chooses a
    row of a parameter always so. `params` as `cell.parameter_shapes` says.
    `initial_state` one (batch, units) a state, or as wide as the state is, zeros if left out. `lengths`
    (batch,): the first so many timesteps are active; or `mask` (batch, time) of booleans: those that are true
    are active; the others keep the state and repeat the output. float32 or float64, the same in all of them.
    `threads`: at most so many (as many as the processors that this process may use if left out).

    Returns the output after the last timestep (batch, units), or with `return_sequences` after every one
    (batch, time, units), in place of the units what the first state declares; with `return_state` the tuple
    (output, *last states). An output that is no state is zero before the first active timestep. Raises
    ValueError, TypeError or IndexError for what does not fit."""
    call = checked(cell, inputs, params, initial_state, lengths, mask, reverse, table, side, threads)
    found = call.call.forward(outputs=return_sequences, training=False)
    output = call.single_or_batch(found.last[0] if found.outputs is None else found.outputs)
    return (output, *map(call.single_or_batch, found.last[cell.step.output :])) if return_state else output


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
    side: Any = None,
    threads: int | None = None,
    checkpoint: bool = False,
) -> Run:
    """Run a cell over sequences like `scan`, and save what the gradient needs: `run.output`, `run.states`,
    `run.backward(…)`. The run has copies of its own: the arrays may be changed afterwards.

    With `checkpoint` only the states of every √time-th timestep (of few rows, somewhat fewer) are saved, and
    the rest is computed again in the backward pass: memory in √time, some third more time."""
    call = checked(cell, inputs, params, initial_state, lengths, mask, reverse, table, side, threads)
    return Run(call, return_sequences, checkpoint)


class Run:
    """A recorded `scan`: `output` as `scan` returns it, `states` the last states."""

    def __init__(self, checked_call: Checked, return_sequences: bool, checkpoint: bool) -> None:
        self._checked, self._sequences = checked_call, return_sequences
        self._call = _with_own_arrays(checked_call.call, everything=checkpoint)
        self._checkpoints: Checkpoints | None = None
        if checkpoint:
            self._checkpoints = Checkpoints(self._call, outputs=return_sequences)
            outputs, last = self._checkpoints.outputs, self._checkpoints.last
        else:
            found = self._call.forward(outputs=return_sequences, training=True)
            outputs, last, self._residuals = found.outputs, found.last, found.residuals
        shaped = checked_call.single_or_batch
        self.output: Array = shaped(last[0] if outputs is None else outputs)
        self.states: tuple[Array, ...] = tuple(map(shaped, last[checked_call.cell.step.output :]))

    def backward(
        self, output_gradient: Any = None, state_gradients: Sequence[Any] | None = None
    ) -> Gradients:
        """Return the gradients of a loss whose gradient by `output` and by `states` is given (None: zero)."""
        cell, shaped = self._checked.cell, self._checked.single_or_batch
        own = int(cell.step.output)
        given: list[Array | None] = [None] * len(cell.step.states)
        if state_gradients is not None and len(state_gradients) > len(cell.states):
            raise ValueError(
                f"state_gradients has {len(state_gradients)} arrays, "
                f"{cell.name} has {len(cell.states)} state(s): {', '.join(cell.states)}"
            )
        for s, gradient in enumerate(() if state_gradients is None else state_gradients):
            if gradient is not None:
                given[own + s] = self._like(gradient, self.states[s], f"state_gradients[{s}]")
        arriving = None
        if output_gradient is not None:
            arriving = self._like(output_gradient, self.output, "output_gradient")
        if arriving is not None and not self._sequences:
            given[0] = arriving if given[0] is None else arriving + given[0]
            arriving = None
        if self._checkpoints is not None:
            found = self._checkpoints.backward(arriving, given)
        else:
            assert self._residuals is not None
            found = self._call.backward(self._residuals, output_gradient=arriving, last_gradients=given)
        inputs = self._checked.inputs.given_back(found.inputs, found.named)
        params = dict(zip(cell.step.scanned.parameters, found.weights, strict=True))
        params |= self._checked.inputs.table_gradients(found.inputs, found.named, self._checked.tables)
        return Gradients(
            inputs,
            {n: g for n in cell.step.parameters if (g := params[n]) is not None},
            tuple(map(shaped, found.initial[own:])),
            None if found.side is None else shaped(found.side),
        )

    def _like(self, gradient: Any, value: Array, name: str) -> Array:
        array = np.ascontiguousarray(gradient, value.dtype)
        if array.shape != value.shape:
            raise ValueError(
                f"{name} has shape {array.shape}, expected {value.shape}, like what it is the gradient of"
            )
        return array[None] if self._checked.single else array


def _with_own_arrays(call: Call, *, everything: bool) -> Call:
    """Copies of what the backward pass reads; `everything` if it runs the forward pass again."""
    own = replace(
        call,
        inputs=None if call.inputs is None else _copied(call.inputs),
        named=[_copied(array) for array in call.named],
        side=None if call.side is None else _copied(call.side),
        weights=[_copied(weight) for weight in call.weights],
    )
    if not everything:
        return own
    return replace(
        own,
        tokens=None if call.tokens is None else call.tokens.copy(),
        active=None if call.active is None else call.active.copy(),
        initial=[state.copy() for state in call.initial],
    )


def _copied(array: Array) -> Array:
    copy = acquire(array.shape, array.dtype)
    copy[...] = array
    return copy
