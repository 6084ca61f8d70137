"""The one interpreter of graphs; who calls it says in which library the operations are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ._dims import size_of
from ._graph import SCALAR, Node
from ._moves import takes_offset, window_of
from ._step import Step

V = TypeVar("V")


def interpret(
    nodes: Iterable[Node],
    leaves: Mapping[tuple[str, str], V],
    implementations: Mapping[str, Callable[..., V]],
    constant: Callable[[float, tuple[int, ...]], V],
    sizes: Mapping[str, int],
    known: Mapping[int, V] | None = None,
    beside_matrix: Callable[[V], V] | None = None,
) -> dict[int, V]:
    """Compute nodes, each after its inputs; return `known` and the new values, id(node) → value.

    `leaves`: the values of the leaves by (op, name), ("input", "") for the input without a name.
    `implementations`: a function for each operation. `constant(value, shape)` returns an array of equal
    elements. `sizes`: those of the axes. A scalar has one axis of one element; `beside_matrix` gives it a
    second one, for values that are no arrays. Operations with an offset are given a `Window`.
    """
    values = dict(known or {})
    widened = beside_matrix or _of_a_matrix
    for n in nodes:
        if n.inputs:
            given: list[Any] = [values[id(i)] for i in n.inputs]
            if len(n.dims) == 2:
                wide = [i.dims == SCALAR and i.op != "constant" for i in n.inputs]
                given = [widened(v) if w else v for v, w in zip(given, wide, strict=True)]
            if takes_offset(n.op, 1):
                given[1] = window_of(n, sizes)
            values[id(n)] = implementations[n.op](*given)
        elif n.op == "constant":
            shape = tuple(size_of(axis, sizes) for axis in n.dims)
            values[id(n)] = constant(float(n.attributes[0]), shape or (1,))
        elif n.op == "noise":  # nothing is drawn outside of a layer's training
            shape = tuple(size_of(axis, sizes) for axis in n.dims)
            values[id(n)] = constant(1.0 if n.attributes[0] == "dropout" else 0.0, shape)
        elif n.op == "offset":  # the operation that takes it knows more
            values[id(n)] = constant(0.0, (1,))
        elif n.op == "size":
            values[id(n)] = constant(float(size_of(str(n.attributes[0]), sizes)), (1,))
        else:
            values[id(n)] = leaves[n.op, str(n.attributes[0]) if n.attributes else ""]
    return values


def _of_a_matrix(value: Any) -> Any:
    """A scalar of each row as a matrix of one element."""
    return value[..., None]


_STAGES = {"input": 1, "state": 2, "row_input": 2, "step_input": 2}


def stages(step: Step) -> tuple[list[Node], list[Node], list[Node]]:
    """Return the nodes that need no timestep, those that need only its input, those that need the states."""
    stage: dict[int, int] = {}
    found: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
    for n in step.nodes:
        stage[id(n)] = max((stage[id(i)] for i in n.inputs), default=_STAGES.get(n.op, 0))
        found[stage[id(n)]].append(n)
    return found
