"""From a step's graph to the plan's: sums of products become accumulators, values in memory become places.

Three operations are added to the table's: `place` (a leaf: a value that lies in memory), `accumulate` (a sum
of products of matrices with rows, on top of an initial value) and `join` (a sum of vectors that are parts of
it, each followed by its offset)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .._graph import SCALAR, UNITS, Dims, Node, node
from .._ops import PRODUCTS, apply
from ._trampoline import Task, run

ONE: Dims = ("1",)
"""The axes of a vector of one element."""


@dataclass(frozen=True)
class Place:
    """Where a value lies: a kind of memory, and the slot in it (see `Plan` for the kinds)."""

    kind: str
    slot: int


@dataclass(frozen=True)
class Projection:
    """What leaves the time loop: products of kernels with the input, and vectors added to them, all of the
    axes `dims`."""

    kernels: tuple[str, ...]
    vectors: tuple[str, ...]
    dims: Dims = UNITS


def at(kind: str, slot: int, dims: Dims = UNITS) -> Node:
    """A leaf that stands for a value in memory."""
    return node("place", (), (kind, slot), dims)


def is_projected(n: Node) -> bool:
    """Whether a node is the input whose products with kernels leave the time loop."""
    return n.op == "input" and not n.attributes


def is_one_element(n: Node) -> bool:
    """Whether a node is the one element of a vector that lies in memory: it is read as a scalar."""
    return n.op == "sum" and n.inputs[0].dims == ONE and not n.inputs[0].inputs


def place_of(leaf: Node) -> Place:
    """The place that a `place` leaf stands for."""
    kind, slot = leaf.attributes
    return Place(str(kind), int(slot))


class Lowering:
    """Rewrites nodes, each once.

    `known` gives nodes that lie in memory. `results` are the nodes that are asked for, `nodes` all that they
    need: an inner node of a sum may vanish in an accumulator only if one node alone uses it."""

    def __init__(self, known: dict[Node, Node], results: Iterable[Node], nodes: Iterable[Node]) -> None:
        self._known = dict(known)
        self._given = set(known)
        self._vectors: dict[str, int] = {}
        self._projections: dict[Projection, int] = {}
        self._uses = Counter(i for n in nodes for i in n.inputs)
        self._uses.update(results)

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vector parameters that the loop reads, in the order of their slots."""
        return tuple(self._vectors)

    @property
    def projections(self) -> tuple[Projection, ...]:
        """What left the time loop, in the order of the slots."""
        return tuple(self._projections)

    def lower(self, n: Node) -> Node:
        """Return the plan's node for a node."""
        run(self._lower(n))
        return self._known[n]

    def _lower(self, n: Node) -> Task:
        """Make a node known."""
        if n in self._known:
            return
        if n.op == "parameter":
            self._known[n] = self._parameter(n)
            return
        joins = n.op == "add" and any(i.op == "pad" for i in n.inputs)
        if joins or (len(n.dims) == 1 and (n.op == "add" or n.op in PRODUCTS)):
            terms = self._terms(n)
            if n.op in PRODUCTS or len(terms) > 1:
                yield from self._lower_sum(n, terms)
                return
        for i in n.inputs:
            yield self._lower(i)
        if n.op == "sum" and n.inputs[0].dims == ONE and self._known[n.inputs[0]].op == "place":
            # the one element is read from memory as a scalar
            place = place_of(self._known[n.inputs[0]])
            self._known[n] = at(place.kind, place.slot, SCALAR)
            return
        self._known[n] = apply(n.op, *(self._known[i] for i in n.inputs)) if n.inputs else n

    def _parameter(self, parameter: Node) -> Node:
        slot = self._vectors.setdefault(str(parameter.attributes[0]), len(self._vectors))
        return at("vector", slot, parameter.dims)

    def _terms(self, n: Node) -> list[Node]:
        """The terms of a sum; an inner sum is opened if it serves nobody else."""
        terms, waiting = [], [n]
        while waiting:
            t = waiting.pop()
            owned = t is n or (self._uses[t] == 1 and t not in self._known)
            if t.op == "add" and owned and all(i.dims == n.dims for i in (t, *t.inputs)):
                waiting.extend(reversed(t.inputs))
            else:
                terms.append(t)
        return terms

    def _lower_sum(self, n: Node, terms: list[Node]) -> Task:
        free = [t for t in terms if t not in self._known and (len(terms) == 1 or self._uses[t] == 1)]
        fitting = [t for t in free if t.dims == n.dims]
        inputs = [t for t in fitting if t.op == "matmul" and is_projected(t.inputs[1])]
        products = [t for t in fitting if t.op in PRODUCTS and not is_projected(t.inputs[1])]
        own = [t for t in terms if t.op == "parameter" and t.dims == n.dims]
        vectors = [t for t in own if t not in self._given]
        value: Node | None = None
        parts = [t for t in fitting if t.op == "pad"]
        parts = parts if len(parts) > 1 else []
        taken = Counter([*inputs, *products, *parts])
        if inputs:
            value = self._project(inputs, vectors, n.dims)
            taken.update(vectors)
        elif products and vectors:
            yield self._lower(vectors[0])
            value = self._known[vectors[0]]
            taken[vectors[0]] += 1
        if products:
            for t in products:
                yield self._lower(t.inputs[1])
            value = self._accumulate(value, products, n.dims)
        if parts:
            for t in parts:
                yield self._lower(t.inputs[0])
            pieces = [i for t in parts for i in (self._known[t.inputs[0]], t.inputs[1])]
            joined = node("join", tuple(pieces), (), n.dims)
            value = joined if value is None else apply("add", value, joined)
        for t in terms:
            if taken[t]:
                taken[t] -= 1  # once only: a vector may stand twice in a sum
                continue
            yield self._lower(t)
            value = self._known[t] if value is None else apply("add", value, self._known[t])
        assert value is not None
        self._known[n] = value

    def _project(self, inputs: list[Node], vectors: list[Node], dims: Dims) -> Node:
        kernels = tuple(str(t.inputs[0].attributes[0]) for t in inputs)
        projection = Projection(kernels, tuple(str(v.attributes[0]) for v in vectors), dims)
        return at("projection", self._projections.setdefault(projection, len(self._projections)), dims)

    def _accumulate(self, start: Node | None, products: list[Node], dims: Dims) -> Node:
        terms: list[str] = []
        for t in products:
            terms += [
                str(t.inputs[0].attributes[0]),
                "transposed" if t.op == "matmul_transposed" else "plain",
            ]
        operands = [self._known[t.inputs[1]] for t in products]
        inputs = operands if start is None else [start, *operands]
        return node("accumulate", tuple(inputs), (int(start is not None), *terms), dims)


def matrix_terms(accumulate: Node) -> list[tuple[str, bool, Node]]:
    """The terms of an accumulator: matrix name, whether it is transposed, the operand."""
    has_start, *flat = accumulate.attributes
    operands = accumulate.inputs[int(has_start) :]
    return [
        (str(flat[2 * k]), flat[2 * k + 1] == "transposed", operand) for k, operand in enumerate(operands)
    ]


def start_of(accumulate: Node) -> Node | None:
    """What an accumulator begins from, None for zero."""
    return accumulate.inputs[0] if accumulate.attributes[0] else None
