"""The backward step: the gradient of a step's graph, in the same operations (reverse mode)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ._graph import UNITS, Dims, Node, leaf, topological_order
from ._ops import PRODUCTS, TABLE, add
from ._step import Step


@dataclass(frozen=True)
class Backward:
    """What one timestep of the backward pass computes for one row.

    `states`: the cotangent of each old state (None if no output depends on it); `vectors`: a cotangent for
    each parameter that is used element by element, to be summed over rows and timesteps; `matrices`: for each
    that stands before an @ the pairs (left, right) whose outer products left ⊗ right are to be summed;
    `input`: the cotangent of the input without a name, None if no output depends on it; `inputs`: those of
    the named.
    """

    states: tuple[Node | None, ...]
    vectors: Mapping[str, Node]
    matrices: Mapping[str, tuple[tuple[Node, Node], ...]]
    input: Node | None
    inputs: Mapping[str, Node]

    @functools.cached_property
    def nodes(self) -> list[Node]:
        """Every node, each after its inputs."""
        pairs = [n for terms in self.matrices.values() for pair in terms for n in pair]
        results = [*self.states, *self.vectors.values(), *pairs, self.input, *self.inputs.values()]
        return topological_order(n for n in results if n is not None)


def cotangent(state: str, dims: Dims = UNITS) -> Node:
    """Return the leaf that stands for the cotangent of a new state."""
    return leaf("cotangent", state, dims=dims)


def backward(step: Step) -> Backward:
    """Return the backward step."""
    return vjp(step.outputs, [cotangent(s, step.dims_of(s)) for s in step.states], step)


def vjp(outputs: Sequence[Node], cotangents: Sequence[Node], step: Step) -> Backward:
    """Return the vector-Jacobian product: the cotangents of a step's leaves from those of the outputs."""
    found: dict[int, Node] = {}
    matrices: dict[str, list[tuple[Node, Node]]] = {}

    def accumulate(node: Node, d: Node | None) -> None:
        if d is not None:
            found[id(node)] = add(found[id(node)], d) if id(node) in found else d

    for output, given in zip(outputs, cotangents, strict=True):
        accumulate(output, given)
    for node in reversed(topological_order(outputs)):
        arriving = found.get(id(node))
        if arriving is None or not node.inputs:
            continue
        for i, d in zip(node.inputs, TABLE[node.op].derivative(node, arriving), strict=True):
            accumulate(i, d)
        if node.op in PRODUCTS:
            matrix, vector = node.inputs
            pair = (arriving, vector) if node.op == "matmul" else (vector, arriving)
            matrices.setdefault(str(matrix.attributes[0]), []).append(pair)

    def of(op: str, name: str, dims: Dims = UNITS) -> Node | None:
        return found.get(id(leaf(op, name, dims=dims)))

    elementwise = {name: dims for name, dims in step.parameters.items() if name not in step.matrices}
    vectors = {name: of("parameter", name, dims) for name, dims in elementwise.items()}
    inputs = [n for n in topological_order(outputs) if n.op == "input" and not n.attributes]
    named = {name: of("input", name, dims) for name, dims in step.inputs.items()}
    return Backward(
        tuple(of("state", s, step.dims_of(s)) for s in step.states),
        {name: d for name, d in vectors.items() if d is not None},
        {name: tuple(pairs) for name, pairs in matrices.items()},
        found.get(id(inputs[0])) if inputs else None,
        {name: d for name, d in named.items() if d is not None},
    )
