"""From a step's graph to the plan's: sums of products become accumulators, values that lie in memory become
places.

Two operations are added to the table's: `place` (a leaf: a value that lies in memory) and `accumulate` (a sum
of products of matrices with rows, on top of an initial value)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .._graph import UNITS, Dims, Node, node
from .._ops import PRODUCTS, apply


@dataclass(frozen=True)
class Place:
    """Where a value lies: a kind of memory, and the slot in it (see `Plan` for the kinds)."""

    kind: str
    slot: int


@dataclass(frozen=True)
class Projection:
    """What leaves the time loop: products of kernels with the input, and vectors added to them."""

    kernels: tuple[str, ...]
    vectors: tuple[str, ...]


def at(kind: str, slot: int, dims: Dims = UNITS) -> Node:
    """A leaf that stands for a value in memory."""
    return node("place", (), (kind, slot), dims)


def place_of(leaf: Node) -> Place:
    """The place that a `place` leaf stands for."""
    kind, slot = leaf.attributes
    return Place(str(kind), int(slot))


class Lowering:
    """Rewrites nodes, each once.

    `known` gives nodes that lie in memory. `uses` counts who needs a node: an inner node of a sum may vanish
    in an accumulator only if nobody else does."""

    def __init__(
        self, known: dict[int, Node], vectors: list[str], ends: Iterable[Node], nodes: Iterable[Node]
    ) -> None:
        self._known = dict(known)
        self._vectors = vectors
        self.projections: list[Projection] = []
        self._uses = Counter(id(i) for n in nodes for i in n.inputs)
        self._uses.update(id(n) for n in ends)

    def lower(self, n: Node) -> Node:
        """Return the plan's node for a node."""
        found = self._known.get(id(n))
        if found is None:
            found = self._known[id(n)] = self._lowered(n)
        return found

    def _lowered(self, n: Node) -> Node:
        if n.op == "parameter":
            return at("vector", self.vector(str(n.attributes[0])))
        if not n.inputs:
            return n
        if n.dims == UNITS and (n.op == "add" or n.op in PRODUCTS):
            terms = self._terms(n, root=True)
            if n.op in PRODUCTS or len(terms) > 1:
                return self._sum(terms)
        return apply(n.op, *(self.lower(i) for i in n.inputs))

    def vector(self, name: str) -> int:
        """The slot of a vector parameter among those that the loop reads."""
        if name not in self._vectors:
            self._vectors.append(name)
        return self._vectors.index(name)

    def _terms(self, n: Node, *, root: bool = False) -> list[Node]:
        """The terms of a sum; an inner sum is opened if it serves nobody else."""
        mine = root or (self._uses[id(n)] == 1 and id(n) not in self._known)
        if n.op == "add" and mine and n.dims == UNITS and all(i.dims == UNITS for i in n.inputs):
            return [t for i in n.inputs for t in self._terms(i)]
        return [n]

    def _sum(self, terms: list[Node]) -> Node:
        alone = len(terms) == 1
        free = [t for t in terms if id(t) not in self._known and (alone or self._uses[id(t)] == 1)]
        inputs = [t for t in free if t.op == "matmul" and t.inputs[1].op == "input"]
        products = [t for t in free if t.op in PRODUCTS and t.inputs[1].op != "input" and t.dims == UNITS]
        vectors = [t for t in terms if t.op == "parameter"]
        if not inputs and not products:
            return self._plain(terms)
        start: Node | None = None
        taken: list[Node] = [*inputs, *products]
        if inputs:
            names = tuple(str(t.inputs[0].attributes[0]) for t in inputs)
            start = self._project(Projection(names, tuple(str(v.attributes[0]) for v in vectors)))
            taken += vectors
        elif vectors:
            start = self.lower(vectors[0])
            taken.append(vectors[0])
        if products:
            matrices = [f"{t.inputs[0].attributes[0]}" for t in products]
            sides = ["transposed" if t.op == "matmul_transposed" else "plain" for t in products]
            operands = tuple(self.lower(t.inputs[1]) for t in products)
            flat = tuple(word for pair in zip(matrices, sides, strict=True) for word in pair)
            value = node(
                "accumulate",
                (*((start,) if start else ()), *operands),
                (int(start is not None), *flat),
                UNITS,
            )
        else:
            assert start is not None
            value = start
        for t in terms:
            k = next((k for k, other in enumerate(taken) if other is t), None)
            if k is None:
                value = apply("add", value, self.lower(t))
            else:
                del taken[k]  # once only: a vector may stand twice in a sum
        return value

    def _plain(self, terms: list[Node]) -> Node:
        value = self.lower(terms[0])
        for t in terms[1:]:
            value = apply("add", value, self.lower(t))
        return value

    def _project(self, projection: Projection) -> Node:
        if projection not in self.projections:
            self.projections.append(projection)
        return at("projection", self.projections.index(projection))


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
