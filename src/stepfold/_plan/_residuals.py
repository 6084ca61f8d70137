"""Which values of the forward pass are residuals: the fewest from which the backward pass can recompute the
rest.

Every value of the step that the backward step reads comes from memory or is recomputed from values that do.
Products, reductions and transcendental functions are never recomputed (column `keep` of the table of
operations). The residuals are a minimum vertex cut of the graph between those operations and the values that
the backward step reads."""

from __future__ import annotations

from .._gradient import Backward
from .._graph import Node, topological_order
from .._ops import TABLE
from .._step import Step
from ._lower import is_one_element
from ._minimum_cut import Network

_SOURCE, _SINK = "source", "sink"
_UNLIMITED = float("inf")
_COSTS = (1 / 16, 1.0, 32.0)  # of a scalar, a vector, a matrix


def residuals(step: Step, backward: Backward) -> list[Node]:
    """Return the residuals in the step's order, without the new states, which are stored in any case."""
    stored = set(step.outputs)

    def is_computed(n: Node) -> bool:
        return bool(n.inputs) and n not in stored and not is_one_element(n)

    def recomputed_from(n: Node) -> list[Node]:
        return [] if TABLE[n.op].save else [i for i in n.inputs if is_computed(i)]

    network = Network()
    wanted = [n for n in _read_by(backward, step) if is_computed(n)]
    for n in topological_order(wanted, recomputed_from):
        cost = _UNLIMITED if n.boolean else _COSTS[len(n.dims)]
        network.add((n, "in"), (n, "out"), cost)
        if TABLE[n.op].save:
            network.add(_SOURCE, (n, "in"), _UNLIMITED)
        for i in recomputed_from(n):
            network.add((i, "out"), (n, "in"), _UNLIMITED)
    for n in wanted:
        network.add((n, "out"), _SINK, _UNLIMITED)
    reached = network.source_side(_SOURCE, _SINK)
    return [n for n in step.nodes if (n, "in") in reached and (n, "out") not in reached]


def _read_by(backward: Backward, step: Step) -> list[Node]:
    """The step's own nodes that the backward step reads."""
    forward = set(step.nodes)
    read = {i: None for n in backward.nodes if n not in forward for i in n.inputs if i in forward}
    results = [
        *backward.states,
        *backward.vectors.values(),
        *(n for pairs in backward.matrices.values() for pair in pairs for n in pair),
    ]
    read.update((n, None) for n in results if n is not None and n in forward)
    return list(read)
