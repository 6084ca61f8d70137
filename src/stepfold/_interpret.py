"""The one interpreter of graphs; who calls it says in which library the operations are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ._graph import UNITS, Node
from ._step import Step

V = TypeVar("V")


def interpret(
    nodes: Iterable[Node],
    leaves: Mapping[tuple[str, str], V],
    implementations: Mapping[str, Callable[..., V]],
    constant: Callable[[float, int], V],
    units: int,
    known: Mapping[int, V] | None = None,
) -> dict[int, V]:
    """Compute nodes, each after its inputs; return `known` and the new values, id(node) → value.

    `leaves`: the values of the leaves by (op, name), ("input", "") for the input. `implementations`: a
    function for each operation. `constant(value, size)` returns a vector of `size` equal elements.
    """
    values = dict(known or {})
    for n in nodes:
        if n.inputs:
            values[id(n)] = implementations[n.op](*(values[id(i)] for i in n.inputs))
        elif n.op == "constant":
            values[id(n)] = constant(float(n.attributes[0]), units if n.dims == UNITS else 1)
        elif n.op == "size":
            values[id(n)] = constant(float(units), 1)
        else:
            values[id(n)] = leaves[n.op, str(n.attributes[0]) if n.attributes else ""]
    return values


_STAGES = {"input": 1, "state": 2, "row_input": 2, "step_input": 2}


def stages(step: Step) -> tuple[list[Node], list[Node], list[Node]]:
    """Return the nodes that need no timestep, those that need only its input, those that need the states."""
    stage: dict[int, int] = {}
    found: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
    for n in step.nodes:
        stage[id(n)] = max((stage[id(i)] for i in n.inputs), default=_STAGES.get(n.op, 0))
        found[stage[id(n)]].append(n)
    return found
