"""The reference: a step scanned with NumPy in a plain loop. Every kernel is compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._gradient import backward
from ._graph import Node
from ._interpret import interpret
from ._lookups import gather
from ._moves import check_windows
from ._ops import TABLE
from ._step import Step

Array = NDArray[Any]
Leaves = dict[tuple[str, str], Array]


def evaluate(
    nodes: Sequence[Node], leaves: Mapping[tuple[str, str], Array], sizes: Mapping[str, int], dtype: Any
) -> dict[int, Any]:
    """Compute nodes, each after its inputs, with NumPy; `leaves`: (op, name) → (rows, units), or as the
    leaf's axes say; `sizes`: those of the axes."""
    implementations = {op: row.numpy for op, row in TABLE.items()}
    with np.errstate(all="ignore"):
        return interpret(nodes, leaves, implementations, lambda v, shape: np.full(shape, v, dtype), sizes)


def sizes_of(
    step: Step,
    states: Sequence[Array],
    params: Mapping[str, Array],
    named: Mapping[str, Array] | None = None,
) -> dict[str, int]:
    """Return the size of each axis that states, parameters and inputs with a name have."""
    found: dict[str, int] = {}
    values = [(step.dims_of(name), state) for name, state in zip(step.states, states, strict=True)]
    values += [(step.inputs[name], value) for name, value in (named or {}).items()]
    values += [(dims, params[name]) for name, dims in step.parameters.items()]
    step.learn(((dims, np.shape(value)[np.ndim(value) - len(dims) :]) for dims, value in values), found)
    for axis in step.own_axes:
        found.setdefault(axis, 1)
    check_windows(step.name, step.nodes, found)
    return found


def _leaves(
    x: Array | None, named: Mapping[str, Array], states: Mapping[str, Array], params: Mapping[str, Array]
) -> Leaves:
    leaves = {} if x is None else {("input", ""): x}
    leaves.update({("input", name): value for name, value in named.items()})
    leaves.update({("state", name): value for name, value in states.items()})
    leaves.update({("parameter", name): value for name, value in params.items()})
    return leaves


def one_step(
    step: Step,
    x: Array | None,
    states: Sequence[Array],
    params: Mapping[str, Array],
    named: Mapping[str, Array] | None = None,
) -> tuple[Array, ...]:
    """Compute one timestep: x (…, features), the inputs with a name, states (…, units) → the new states.

    `states` are those of the step: an output that is no state is the first of them."""
    named, _ = gather(step.lookups, named or {}, params)
    step = step.gathered
    sizes = sizes_of(step, states, params, named)
    leaves = _leaves(x, named, dict(zip(step.states, states, strict=True)), params)
    values = evaluate(step.nodes, leaves, sizes, states[0].dtype)
    return tuple(np.broadcast_to(values[id(n)], s.shape) for n, s in zip(step.outputs, states, strict=True))


class Reference:
    """A step scanned over a batch of sequences: outputs, last states, and the backward pass.

    `inputs` (batch, time, features); `named` (batch, time, …) the inputs with a name, integers (batch, time)
    for those that choose rows of parameters, everywhere inside these; `initial_state` one
    array (batch, units), or as its axes say, for each of the step's states; `mask` (batch, time) boolean: a
    masked timestep keeps the state; `extra`: the leaves that a layer adds, ("row_input", name) (batch, units)
    and ("step_input", name) (batch, time, units).
    """

    def __init__(
        self,
        step: Step,
        inputs: Array,
        params: Mapping[str, Array],
        initial_state: Sequence[Array],
        *,
        mask: Array | None = None,
        reverse: bool = False,
        extra: Mapping[tuple[str, str], Array] | None = None,
        named: Mapping[str, Array] | None = None,
    ) -> None:
        self.named, self.rows = gather(step.lookups, named or {}, params)
        self.step, self.inputs, self.params, self.extra = step.gathered, inputs, params, dict(extra or {})
        step = self.step
        batch, time = inputs.shape[:2]
        self.mask = np.ones((batch, time), bool) if mask is None else mask
        self.order = list(range(time))[::-1] if reverse else list(range(time))
        states = [np.asarray(s) for s in initial_state]
        self.sizes, self.dtype = sizes_of(step, states, params, self.named), states[0].dtype
        self.before: dict[int, list[Array]] = {}
        self.outputs = np.zeros((batch, time, *states[0].shape[1:]), self.dtype)
        for t in self.order:
            self.before[t] = states
            values = evaluate(step.nodes, self._at(t), self.sizes, self.dtype)
            new = [values[id(n)] for n in step.outputs]
            states = [self._where_on(t, n, s).astype(self.dtype) for n, s in zip(new, states, strict=True)]
            self.outputs[:, t] = states[0]
        self.states = states

    def _where_on(self, t: int, on: Array, off: Array) -> Array:
        """Rows of one value where the timestep is active, of another where it is masked."""
        mask = self.mask[:, t].reshape(-1, *[1] * (np.ndim(off) - 1))
        return np.where(mask, on, off)

    def _at(self, t: int) -> Leaves:
        states = dict(zip(self.step.states, self.before[t], strict=True))
        named = {name: value[:, t] for name, value in self.named.items()}
        leaves = _leaves(self.inputs[:, t], named, states, self.params)
        for (op, name), value in self.extra.items():
            leaves[op, name] = value if op == "row_input" else value[:, t]
        return leaves

    def backward(
        self, output_gradient: Array | None, state_gradients: Sequence[Array] | None = None
    ) -> tuple[Array, dict[str, Array], list[Array]]:
        """Return the gradients of (inputs, params, initial state); `named_gradients` holds those of `named`.

        `output_gradient` (batch, time, units) is the gradient of the outputs, where the output of a masked
        timestep is the state; `state_gradients` those of the last states.
        """
        back = backward(self.step)
        batch = self.inputs.shape[0]
        zero = [np.zeros_like(state) for state in self.states]
        carried = [np.array(g) for g in (zero if state_gradients is None else state_gradients)]
        to_inputs = np.zeros_like(self.inputs)
        to_params = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.named_gradients = {name: np.zeros_like(value) for name, value in self.named.items()}
        for t in reversed(self.order):
            if output_gradient is not None:
                carried[0] = carried[0] + output_gradient[:, t]
            arriving = [self._where_on(t, c, z) for c, z in zip(carried, zero, strict=True)]
            leaves = self._at(t)
            leaves.update({("cotangent", s): c for s, c in zip(self.step.states, arriving, strict=True)})
            values = evaluate(back.nodes, leaves, self.sizes, self.dtype)

            def rows(node: Node, *widths: int, values: dict[int, Any] = values, t: int = t) -> Array:
                full = np.broadcast_to(values[id(node)], (batch, *widths))
                return self._where_on(t, full, np.zeros_like(full))

            for name, node in back.vectors.items():
                shape = self.params[name].shape
                to_params[name] += rows(node, *(shape or (1,))).sum(0).reshape(shape)
            for name, pairs in back.matrices.items():
                for left, right in pairs:
                    height, width = self.params[name].shape
                    to_params[name] += rows(left, height).T @ rows(right, width)
            if back.input is not None:
                to_inputs[:, t] = rows(back.input, self.inputs.shape[-1])
            for name, node in back.inputs.items():
                self.named_gradients[name][:, t] = rows(node, *self.named[name].shape[2:])
            passed = [
                z if n is None else rows(n, *z.shape[1:]) for n, z in zip(back.states, zero, strict=True)
            ]
            carried = [self._where_on(t, p, c) for p, c in zip(passed, carried, strict=True)]
        for lookup, ids in self.rows:
            gradient = self.named_gradients.pop(lookup.name)
            np.add.at(
                to_params[lookup.table],
                ids,
                gradient.reshape(*ids.shape, *gradient.shape[2:])
                if to_params[lookup.table].ndim > 1
                else gradient[..., 0],
            )
        return to_inputs, to_params, carried
