"""What the way forward keeps for the way back: the least memory from which the rest can cheaply be computed
again.

Every value of the step that the backward step asks for must come from somewhere: from memory, or from cheap
operations on values that do. Products, reductions and transcendental functions are never repeated (column
`keep` of the table). The least set to keep is a minimum vertex cut of the graph between what is dear to
compute and what is asked for."""

from __future__ import annotations

from collections import deque

from .._gradient import Backward
from .._graph import SCALAR, Node
from .._ops import TABLE
from .._step import Step

_SOURCE, _SINK = -1, -2
_ALWAYS = float("inf")
_SCALAR_COST = 1 / 16
Edges = dict[int, dict[int, float]]


def kept(step: Step, back: Backward) -> list[Node]:
    """Return the nodes to keep, in the step's order; the new states are kept in any case and not among
    them."""
    forward = {id(n): n for n in step.nodes}
    stored = {id(n) for n in step.outputs}
    edges: Edges = {}
    visited: set[int] = set()

    def edge(start: int, end: int, capacity: float) -> None:
        edges.setdefault(start, {})[end] = capacity
        edges.setdefault(end, {}).setdefault(start, 0.0)

    def ask(n: Node) -> None:
        key = id(n)
        if key in visited or not n.inputs or key in stored:
            return
        visited.add(key)
        into, out = 2 * key, 2 * key + 1
        edge(into, out, _ALWAYS if n.boolean else _SCALAR_COST if n.dims == SCALAR else 1.0)
        if TABLE[n.op].save:
            edge(_SOURCE, into, _ALWAYS)
            return
        for i in n.inputs:
            ask(i)
            if id(i) in visited:
                edge(2 * id(i) + 1, into, _ALWAYS)

    for n in _asked_for(forward, back):
        ask(n)
        if id(n) in visited:
            edge(2 * id(n) + 1, _SINK, _ALWAYS)
    reached = _cut(edges)
    return [n for n in step.nodes if 2 * id(n) in reached and 2 * id(n) + 1 not in reached]


def _asked_for(forward: dict[int, Node], back: Backward) -> list[Node]:
    """The step's own nodes that the backward step reads."""
    asked = {id(i): i for n in back.nodes if id(n) not in forward for i in n.inputs if id(i) in forward}
    ends = [
        *back.states,
        *back.vectors.values(),
        *(n for pairs in back.matrices.values() for pair in pairs for n in pair),
    ]
    asked.update({id(n): n for n in ends if n is not None and id(n) in forward})
    return list(asked.values())


def _cut(edges: Edges) -> set[int]:
    """Send as much flow from source to sink as fits (Edmonds & Karp 1972); return what the source still
    reaches."""
    while True:
        parent: dict[int, int] = {_SOURCE: _SOURCE}
        queue = deque([_SOURCE])
        while queue and _SINK not in parent:
            at = queue.popleft()
            for following, room in edges.get(at, {}).items():
                if room > 1e-9 and following not in parent:
                    parent[following] = at
                    queue.append(following)
        if _SINK not in parent:
            return set(parent)
        path, at = [], _SINK
        while at != _SOURCE:
            path.append((parent[at], at))
            at = parent[at]
        flow = min(edges[a][b] for a, b in path)
        for a, b in path:
            edges[a][b] -= flow
            edges[b][a] += flow
