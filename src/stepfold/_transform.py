"""Transformations of steps: what a layer adds to any cell, such as recurrent dropout and zoneout.

Each function takes a step and returns one with extra leaves (a vector per sequence or per timestep). It
rewrites the graph, from which the backward pass and the kernels are derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from . import _ops
from ._graph import LEAVES, SCALAR, UNITS, Node, leaf
from ._step import Step

Rule = Callable[[str, tuple[Node, ...]], Node | None]


def rewritten(step: Step, rule: Rule) -> tuple[Node, ...]:
    """Return the step's outputs with every operation replaced for which `rule(op, inputs)` returns a node."""
    new = _rebuilt(step, {}, rule)
    return tuple(new[id(output)] for output in step.outputs)


def _rebuilt(step: Step, known: Mapping[int, Node], rule: Rule) -> dict[int, Node]:
    """The new node of every node, by its id; `known`: those of some leaves."""
    new = dict(known)
    for node in step.nodes:
        if node.op in LEAVES:
            new.setdefault(id(node), node)
            continue
        inputs = tuple(new[id(i)] for i in node.inputs)
        new[id(node)] = rule(node.op, inputs) or _ops.apply(node.op, *inputs)
    return new


def scalars_as_vectors(step: Step) -> tuple[Step, dict[int, Node]]:
    """Return the step with a vector of equal elements for each scalar parameter, and the new node of every
    node of the step, by its id; the step itself if it has none."""
    scalars = [name for name, dims in step.parameters.items() if dims == SCALAR]
    if not scalars:
        return step, {id(n): n for n in step.nodes}
    vectors = {id(leaf("parameter", name, dims=SCALAR)): leaf("parameter", name) for name in scalars}
    new = _rebuilt(step, vectors, lambda op, inputs: None)
    outputs = tuple(new[id(output)] for output in step.outputs)
    parameters = {name: dims or UNITS for name, dims in step.parameters.items()}
    return replace(step, parameters=parameters, outputs=outputs), new


def recurrent_kernels(step: Step) -> tuple[str, ...]:
    """Return the names of the recurrent kernels, (units, units), in the order of the step's parameters."""
    used = {
        str(n.inputs[0].attributes[0])
        for n in step.nodes
        if n.op in _ops.PRODUCTS and _ops.is_recurrent_kernel(n.inputs[0])
    }
    return tuple(name for name in step.parameters if name in used)


def recurrent_dropout_leaf(kernel: str) -> tuple[str, str]:
    """Return the key in `extra` of the mask on the operand of one recurrent kernel."""
    return "row_input", f"recurrent_dropout.{kernel}"


def recurrent_dropout(step: Step) -> Step:
    """Return the step with a mask per sequence on each recurrent kernel's operand (Gal & Ghahramani 2016).

    The masks (batch, units), already divided by the probability of keeping an element, are the extra leaves
    `recurrent_dropout_leaf(kernel)` for each name in `recurrent_kernels(step)`. A state that is used
    elementwise is not dropped.
    """

    def rule(op: str, inputs: tuple[Node, ...]) -> Node | None:
        if op not in _ops.PRODUCTS or not _ops.is_recurrent_kernel(inputs[0]):
            return None
        kernel, operand = inputs
        mask = leaf(*recurrent_dropout_leaf(str(kernel.attributes[0])), dims=UNITS)
        return _ops.apply(op, kernel, _ops.multiply(operand, mask))

    return _renamed(step, "recurrent dropout", rewritten(step, rule))


def zoneout_leaf(state: str) -> tuple[str, str]:
    """Return the key in `extra` of the mask of one state's units that keep their old values."""
    return "step_input", f"zoneout.{state}"


def zoneout(step: Step) -> Step:
    """Return the step in which some units of each state keep their old values (Krueger et al. 2017).

    The extra leaves `zoneout_leaf(state)` (batch, time, units) are 1 where a unit keeps its old value, else
    0.
    """
    return _mixed(step, "zoneout", [leaf(*zoneout_leaf(state), dims=UNITS) for state in step.states])


def expected_zoneout(step: Step, rate: float) -> Step:
    """Return the expectation of `zoneout`: `rate` times the old value plus 1 - `rate` times the new one."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"zoneout must lie in 0…1, not {rate}")
    return _mixed(step, f"zoneout of {rate}", [rate for _ in step.states])


def _mixed(step: Step, what: str, keep: list[Node] | list[float]) -> Step:
    outputs = []
    for state, new, share in zip(step.states, step.outputs, keep, strict=True):
        old = leaf("state", state, dims=UNITS)
        outputs.append(_ops.add(new, _ops.multiply(share, _ops.subtract(old, new))))
    return _renamed(step, what, tuple(outputs))


def _renamed(step: Step, what: str, outputs: tuple[Node, ...]) -> Step:
    return replace(step, name=f"{step.name} with {what}", outputs=outputs)
