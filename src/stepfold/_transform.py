"""Transformations of steps: what a layer adds to any cell, such as recurrent dropout and zoneout.

Each function takes a step and returns one with extra leaves (a vector per sequence or per timestep). It
rewrites the graph, from which the backward pass and the kernels are derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from . import _ops
from ._graph import LEAVES, SCALAR, UNITS, Dims, Node, leaf
from ._step import Step

Rule = Callable[[str, tuple[Node, ...]], Node | None]


def rewritten(step: Step, rule: Rule) -> tuple[Node, ...]:
    """Return the step's outputs with every operation replaced for which `rule(op, inputs)` returns a node."""
    new = rebuilt(step, {}, rule)
    return tuple(new[id(output)] for output in step.outputs)


def _none(op: str, inputs: tuple[Node, ...]) -> None:
    return None


def rebuilt(step: Step, known: Mapping[int, Node], rule: Rule = _none) -> dict[int, Node]:
    """Return the new node of every node, by its id; `known`: those of some nodes."""
    new = dict(known)
    for node in step.nodes:
        if id(node) in known:
            continue
        if node.op in LEAVES:
            new[id(node)] = node
            continue
        inputs = tuple(new[id(i)] for i in node.inputs)
        new[id(node)] = rule(node.op, inputs) or _ops.apply(node.op, *inputs)
    return new


def scalars_as_vectors(step: Step) -> tuple[Step, dict[int, Node]]:
    """Return the step with a vector of equal elements for each scalar parameter, and the new node of every
    node of the step, by its id; the step itself if it has none.

    The vector has the axis of the values that the scalar stands beside; where these differ, one element.
    """
    scalars = [name for name, dims in step.parameters.items() if dims == SCALAR]
    if not scalars:
        return step, {id(n): n for n in step.nodes}
    axes = {name: _axes_beside(step, leaf("parameter", name, dims=SCALAR)) for name in scalars}
    vectors = {
        id(leaf("parameter", name, dims=SCALAR)): leaf("parameter", name, dims=dims)
        if dims
        else _ops.sum_over_units(leaf("parameter", name, dims=("1",)))
        for name, dims in axes.items()
    }
    new = rebuilt(step, vectors)
    outputs = tuple(new[id(output)] for output in step.outputs)
    parameters = {name: dims or axes[name] or ("1",) for name, dims in step.parameters.items()}
    return replace(step, parameters=parameters, outputs=outputs), new


def _axes_beside(step: Step, scalar: Node) -> Dims:
    """The one axis of all vectors that a scalar parameter meets; none where it meets several, or a matrix."""
    if step.axes == UNITS:
        return UNITS
    met: set[Dims] = set()
    waiting = {id(scalar)}
    for n in step.nodes:
        if any(id(i) in waiting for i in n.inputs):
            if n.dims == SCALAR:
                waiting.add(id(n))  # a scalar computed from it
            else:
                met.add(n.dims)
    return next(iter(met)) if len(met) == 1 and all(len(dims) == 1 for dims in met) else SCALAR


def recurrent_kernels(step: Step) -> dict[str, Dims]:
    """Return the parameters that multiply values of the step, not inputs, in the order of the step's
    parameters, and the axes of what each multiplies."""
    used = {
        str(n.inputs[0].attributes[0]): n.inputs[1].dims
        for n in step.nodes
        if n.op in _ops.PRODUCTS and n.inputs[1].op != "input"
    }
    return {name: used[name] for name in step.parameters if name in used}


def recurrent_dropout_leaf(kernel: str) -> tuple[str, str]:
    """Return the key in `extra` of the mask on the operand of one recurrent kernel."""
    return "row_input", f"recurrent_dropout.{kernel}"


def recurrent_dropout(step: Step) -> Step:
    """Return the step with a mask per sequence on each recurrent kernel's operand (Gal & Ghahramani 2016).

    The masks (batch, units), or as wide as the operand, already divided by the probability of keeping an
    element, are the extra leaves `recurrent_dropout_leaf(kernel)` for each name in `recurrent_kernels(step)`.
    A state that is used elementwise is not dropped.
    """

    def rule(op: str, inputs: tuple[Node, ...]) -> Node | None:
        if op not in _ops.PRODUCTS or inputs[1].op == "input":
            return None
        kernel, operand = inputs
        mask = leaf(*recurrent_dropout_leaf(str(kernel.attributes[0])), dims=operand.dims)
        return _ops.apply(op, kernel, _ops.multiply(operand, mask))

    return _renamed(step, "recurrent dropout", rewritten(step, rule))


def zoneout_leaf(state: str) -> tuple[str, str]:
    """Return the key in `extra` of the mask of one state's units that keep their old values."""
    return "step_input", f"zoneout.{state}"


def zoneout(step: Step) -> Step:
    """Return the step in which some units of each state keep their old values (Krueger et al. 2017).

    The extra leaves `zoneout_leaf(state)` (batch, time, units), or as the state's axes say, are 1 where a
    unit, or an element of a matrix, keeps its old value, else 0.
    """
    return _mixed(step, "zoneout", lambda state: leaf(*zoneout_leaf(state), dims=step.dims_of(state)))


def expected_zoneout(step: Step, rate: float) -> Step:
    """Return the expectation of `zoneout`: `rate` times the old value plus 1 - `rate` times the new one."""
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"zoneout must lie in 0…1, not {rate}")
    return _mixed(step, f"zoneout of {rate}", lambda state: rate)


def _mixed(step: Step, what: str, keep: Callable[[str], Node | float]) -> Step:
    outputs = list(step.outputs[: step.output])  # an output that is no state has no old value
    for state, new in list(zip(step.states, step.outputs, strict=True))[step.output :]:
        old = leaf("state", state, dims=step.dims_of(state))
        outputs.append(_ops.add(new, _ops.multiply(keep(state), _ops.subtract(old, new))))
    return _renamed(step, what, tuple(outputs))


def _renamed(step: Step, what: str, outputs: tuple[Node, ...]) -> Step:
    return replace(step, name=f"{step.name} with {what}", outputs=outputs)
