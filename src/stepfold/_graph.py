"""The nodes of a step's graph; equal nodes are one node (hash consing).

A graph is a set of immutable nodes that refer to their inputs. A node describes one value of ONE row (one
sequence of the batch) at ONE timestep; batch and time are not part of it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ._locks import ForkSafeLock

Dims = tuple[str, ...]
"""The axes of a value by name: `()` a per-row scalar, `("units",)` a vector, two for a matrix.

An axis whose name is an integer, `("1",)`, has that size, one whose name is a sum, `("units-1",)`, that of
the sum (`_axes`); other sizes are given with a batch or a layer."""

Attribute = str | float | int

MAX_NODES = 10_000
"""The most nodes of one step; every pass over a graph takes time linear in their number."""

SCALAR: Dims = ()
UNITS: Dims = ("units",)
FEATURES: Dims = ("features",)
RECURRENT_KERNEL: Dims = ("units", "units")
KERNEL: Dims = ("units", "features")

LEAVES = (
    "input",
    "state",
    "parameter",
    "constant",
    "size",
    "offset",
    "noise",
    "cotangent",
    "row_input",
    "step_input",
)
"""Nodes without inputs: the inputs of this timestep (one without a name, which only stands behind kernels,
and those with names), states, parameters, constants, the size of an axis, noise; an offset, an integer that
follows from sizes, with the axis of the part of a vector that begins there; in a backward step the cotangents
of the new states; added by a layer, a vector per sequence or per timestep."""


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Node:
    """One value of the step: an operation on other nodes, or a leaf (one of `LEAVES`, without inputs)."""

    op: str
    inputs: tuple[Node, ...]
    attributes: tuple[Attribute, ...]
    dims: Dims
    boolean: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        # a node is known by its identity, so unpickling has to find the shared one
        return node, (self.op, self.inputs, self.attributes, self.dims, self.boolean)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __repr__(self) -> str:
        inside = [repr(a) for a in self.attributes] + [f"%{id(node) & 0xFFFF:04x}" for node in self.inputs]
        return f"{self.op}({', '.join(inside)}): {'×'.join(self.dims) or 'scalar'}"


_shared: weakref.WeakValueDictionary[tuple[object, ...], Node] = weakref.WeakValueDictionary()
# Looking up and adding are one operation for all threads. Reentrant, because a signal handler or a finalizer
# may trace a cell while its own thread holds the lock.
_lock = ForkSafeLock(reentrant=True)


def node(
    op: str, inputs: tuple[Node, ...], attributes: tuple[Attribute, ...], dims: Dims, boolean: bool = False
) -> Node:
    """Return the one node that stands for this operation on these inputs, whichever thread asks."""
    # repr keeps 0.0 and -0.0, and 1 and 1.0, apart
    key = (op, tuple(map(id, inputs)), tuple(map(repr, attributes)), dims)
    with _lock.lock:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = Node(op, inputs, attributes, dims, boolean)
        return found


def leaf(op: str, *attributes: Attribute, dims: Dims = UNITS) -> Node:
    """Return a leaf."""
    if op not in LEAVES:
        raise ValueError(f"{op!r} is not a leaf; the leaves are {', '.join(LEAVES)}")
    return node(op, (), attributes, dims)


def constant(value: float, dims: Dims = SCALAR) -> Node:
    """Return a constant: a scalar, or a vector of equal elements; ValueError for NaN."""
    if math.isnan(value):
        raise ValueError("a constant cannot be NaN")
    return node("constant", (), (float(value),), dims)


def _inputs(of: Node) -> tuple[Node, ...]:
    return of.inputs


def topological_order(
    outputs: Iterable[Node], inputs: Callable[[Node], Iterable[Node]] = _inputs
) -> list[Node]:
    """Return every node that the outputs need, each after its inputs; the order is the same in every run."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, Iterator[Node]]] = []
    for output in outputs:
        if id(output) in seen:
            continue
        seen.add(id(output))
        stack.append((output, iter(inputs(output))))
        while stack:
            current, rest = stack[-1]
            for following in rest:
                if id(following) not in seen:
                    seen.add(id(following))
                    stack.append((following, iter(inputs(following))))
                    break
            else:
                order.append(current)
                stack.pop()
    return order
