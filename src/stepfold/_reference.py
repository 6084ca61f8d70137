"""The reference: a step scanned with NumPy in a plain loop. Every kernel is compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._gradient import backward
from ._graph import Node
from ._interpret import interpret
from ._ops import TABLE
from ._step import Step

Array = NDArray[Any]
Leaves = dict[tuple[str, str], Array]


def evaluate(
    nodes: Sequence[Node], leaves: Mapping[tuple[str, str], Array], units: int, dtype: Any
) -> dict[int, Any]:
    """Compute nodes, each after its inputs, with NumPy; `leaves`: (op, name) → (rows, units)."""
    implementations = {op: row.numpy for op, row in TABLE.items()}
    with np.errstate(all="ignore"):
        return interpret(nodes, leaves, implementations, lambda v, size: np.full(size, v, dtype), units)


def _leaves(x: Array, states: Mapping[str, Array], params: Mapping[str, Array]) -> Leaves:
    leaves = {("input", ""): x}
    leaves.update({("state", name): value for name, value in states.items()})
    leaves.update({("parameter", name): value for name, value in params.items()})
    return leaves


def one_step(step: Step, x: Array, states: Sequence[Array], params: Mapping[str, Array]) -> tuple[Array, ...]:
    """Compute one timestep: x (…, features), states (…, units) → the new states."""
    units = states[0].shape[-1]
    leaves = _leaves(x, dict(zip(step.states, states, strict=True)), params)
    values = evaluate(step.nodes, leaves, units, states[0].dtype)
    return tuple(np.broadcast_to(values[id(n)], s.shape) for n, s in zip(step.outputs, states, strict=True))


class Reference:
    """A step scanned over a batch of sequences: outputs, last states, and the backward pass.

    `inputs` (batch, time, features); `mask` (batch, time) boolean: a masked timestep keeps the state;
    `extra`: the leaves that a layer adds, ("row_input", name) (batch, units) and ("step_input", name) (batch,
    time, units).
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
    ) -> None:
        self.step, self.inputs, self.params, self.extra = step, inputs, params, dict(extra or {})
        batch, time = inputs.shape[:2]
        self.mask = np.ones((batch, time), bool) if mask is None else mask
        self.order = list(range(time))[::-1] if reverse else list(range(time))
        states = [np.asarray(s) for s in initial_state]
        self.units, self.dtype = states[0].shape[-1], states[0].dtype
        self.before: dict[int, list[Array]] = {}
        self.outputs = np.zeros((batch, time, self.units), self.dtype)
        for t in self.order:
            self.before[t] = states
            values = evaluate(step.nodes, self._at(t), self.units, self.dtype)
            on = self.mask[:, t, None]
            new = [values[id(n)] for n in step.outputs]
            states = [np.where(on, n, s).astype(self.dtype) for n, s in zip(new, states, strict=True)]
            self.outputs[:, t] = states[0]
        self.states = states

    def _at(self, t: int) -> Leaves:
        states = dict(zip(self.step.states, self.before[t], strict=True))
        leaves = _leaves(self.inputs[:, t], states, self.params)
        for (op, name), value in self.extra.items():
            leaves[op, name] = value if op == "row_input" else value[:, t]
        return leaves

    def backward(
        self, output_gradient: Array | None, state_gradients: Sequence[Array] | None = None
    ) -> tuple[Array, dict[str, Array], list[Array]]:
        """Return the gradients of (inputs, params, initial state).

        `output_gradient` (batch, time, units) is the gradient of the outputs, where the output of a masked
        timestep is the state; `state_gradients` those of the last states.
        """
        back = backward(self.step)
        batch = self.inputs.shape[0]
        zero = [np.zeros((batch, self.units), self.dtype) for _ in self.step.states]
        carried = [np.array(g) for g in (zero if state_gradients is None else state_gradients)]
        to_inputs = np.zeros_like(self.inputs)
        to_params = {name: np.zeros_like(value) for name, value in self.params.items()}
        for t in reversed(self.order):
            if output_gradient is not None:
                carried[0] = carried[0] + output_gradient[:, t]
            on = self.mask[:, t, None]
            arriving = [np.where(on, c, z) for c, z in zip(carried, zero, strict=True)]
            leaves = self._at(t)
            leaves.update({("cotangent", s): c for s, c in zip(self.step.states, arriving, strict=True)})
            values = evaluate(back.nodes, leaves, self.units, self.dtype)

            def rows(node: Node, width: int, values: dict[int, Any] = values, on: Array = on) -> Array:
                return np.where(on, np.broadcast_to(values[id(node)], (batch, width)), 0)

            for name, node in back.vectors.items():
                shape = self.params[name].shape
                to_params[name] += rows(node, *(shape or (1,))).sum(0).reshape(shape)
            for name, pairs in back.matrices.items():
                for left, right in pairs:
                    width = self.params[name].shape[1]
                    to_params[name] += rows(left, self.units).T @ rows(right, width)
            if back.input is not None:
                to_inputs[:, t] = rows(back.input, self.inputs.shape[-1])
            passed = [z if n is None else rows(n, self.units) for n, z in zip(back.states, zero, strict=True)]
            carried = [np.where(on, p, c) for p, c in zip(passed, carried, strict=True)]
        return to_inputs, to_params, carried
