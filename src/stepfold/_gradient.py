"""The backward step: from a step's graph and the cotangents of its new states, in the same operations."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ._graph import UNITS, Node, in_order, leaf
from ._ops import PRODUCTS, TABLE, add
from ._step import Step


@dataclass(frozen=True)
class Backward:
    """What one timestep of the way back computes for one row.

    `states`: the cotangent of each state of the timestep before (None if it has no influence); `vectors`: a
    cotangent for each vector parameter, to be summed over rows and timesteps; `matrices`: for each matrix
    parameter pairs (left, right) whose outer products left ⊗ right are to be summed; `input`: the cotangent
    of the input, if any.
    """

    states: tuple[Node | None, ...]
    vectors: Mapping[str, Node]
    matrices: Mapping[str, tuple[tuple[Node, Node], ...]]
    input: Node | None

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """Every node needed, each after its inputs."""
        pairs = [n for terms in self.matrices.values() for pair in terms for n in pair]
        ends = [*self.states, *self.vectors.values(), *pairs, self.input]
        return in_order(n for n in ends if n is not None)


def cotangent(state: str) -> Node:
    """The leaf that stands for the cotangent of a new state."""
    return leaf("cotangent", state)


def backward(step: Step) -> Backward:
    """Derive the backward step."""
    return pull_back(step.outputs, [cotangent(s) for s in step.states], step)


def pull_back(outputs: Sequence[Node], cotangents: Sequence[Node], step: Step) -> Backward:
    """Carry cotangents of outputs back to the leaves of a step's graph (reverse mode)."""
    found: dict[int, Node] = {}
    matrices: dict[str, list[tuple[Node, Node]]] = {}

    def give(node: Node, d: Node | None) -> None:
        if d is not None:
            found[id(node)] = add(found[id(node)], d) if id(node) in found else d

    for output, given in zip(outputs, cotangents, strict=True):
        give(output, given)
    for node in reversed(in_order(outputs)):
        arrived = found.get(id(node))
        if arrived is None or not node.inputs:
            continue
        for i, d in zip(node.inputs, TABLE[node.op].derivative(node, arrived), strict=True):
            give(i, d)
        if node.op in PRODUCTS:
            matrix, vector = node.inputs
            pair = (arrived, vector) if node.op == "matmul" else (vector, arrived)
            matrices.setdefault(str(matrix.attributes[0]), []).append(pair)

    def of(op: str, name: str) -> Node | None:
        return found.get(id(leaf(op, name)))

    vectors = {name: of("parameter", name) for name, dims in step.parameters.items() if dims == UNITS}
    inputs = [n for n in in_order(outputs) if n.op == "input"]
    return Backward(
        tuple(of("state", s) for s in step.states),
        {name: d for name, d in vectors.items() if d is not None},
        {name: tuple(pairs) for name, pairs in matrices.items()},
        found.get(id(inputs[0])) if inputs else None,
    )
