"""From plan nodes to stages: what can be computed in one walk over the units, and what must wait for a whole
row.

A product needs its whole operand row, a reduction gives its number at the end of a row: each begins a new
stage. A stage is one walk over blocks of units (products into accumulators, then elementwise work), followed
by work on one number a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._graph import SCALAR, Node, topological_order
from .._ops import REDUCTIONS, TABLE
from ._lower import Place, matrix_terms, place_of

_ACCUMULATING = "vector_gradient"
_RECOMPUTE = 4  # computing up to so many cheap operations again is cheaper than a store and a load


@dataclass
class Stage:
    """`products`: accumulators; `body`: elementwise nodes in order; `stores`: what is written; `reductions`:
    sums and maxima over the row; then, once a row, `scalars` in order and `scalar_stores`."""

    products: list[Node] = field(default_factory=list)
    body: list[Node] = field(default_factory=list)
    stores: list[tuple[Node, Place]] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)
    scalars: list[Node] = field(default_factory=list)
    scalar_stores: list[tuple[Node, Place]] = field(default_factory=list)


@dataclass
class Arrangement:
    """The stages in order, and how many slots of scratch memory (rows of units, numbers) they need a row."""

    stages: list[Stage]
    scratch: int
    scalars: int
    homes: dict[int, Place]


def arrange(targets: Sequence[tuple[Node, Place]]) -> Arrangement:
    """Return the stages that compute each target node and store it at its place."""
    return _Arranging(targets).result()


class _Arranging:
    def __init__(self, targets: Sequence[tuple[Node, Place]]) -> None:
        self._targets = targets
        self._level: dict[int, int] = {}
        self._static: set[int] = set()
        self._cost: dict[int, float] = {}
        order = topological_order(n for n, _ in targets)
        for n in order:
            self._note(n)
        count = 1 + max((self._level[id(n)] for n in order), default=0)
        self._stages = [Stage() for _ in range(count)]
        self._present: list[set[int]] = [set() for _ in range(count)]
        self._homes: dict[int, Place] = {}
        self._scratch = self._scalars = 0
        self._keep_alive = order  # everything here is found by id, and ids of dead nodes are used again

    def result(self) -> Arrangement:
        for n, place in self._targets:
            if place.kind != _ACCUMULATING and n.op != "place" and id(n) not in self._homes:
                self._homes[id(n)] = place
        for n, place in self._targets:
            stage = self._level[id(n)]
            if n.dims == SCALAR:
                self._scalar(n, stage)
                self._stages[stage].scalar_stores.append((n, place))
            else:
                self._use(n, stage)
                self._stages[stage].stores.append((n, place))
        return Arrangement(self._stages, self._scratch, self._scalars, self._homes)

    def _note(self, n: Node) -> None:
        """Find the first stage in which a node can be computed, and what computing it again would cost."""
        key = id(n)
        if not n.inputs:
            self._level[key], self._cost[key] = 0, 0
            if n.op in ("constant", "size"):
                self._static.add(key)
            return
        level = 0
        for i in n.inputs:
            before = self._level[id(i)]
            waits = n.op == "accumulate" and i.op != "place"
            waits |= n.dims != SCALAR and i.dims == SCALAR and id(i) not in self._static and i.op != "place"
            level = max(level, before + waits)
        self._level[key] = level
        if n.op in TABLE and n.op not in REDUCTIONS and all(id(i) in self._static for i in n.inputs):
            self._static.add(key)
        cheap = (
            n.op in TABLE
            and not TABLE[n.op].save
            and all(i.dims != SCALAR or id(i) in self._static or i.op == "place" for i in n.inputs)
        )
        self._cost[key] = 1 + sum(self._cost[id(i)] for i in n.inputs) if cheap else float("inf")

    def _home(self, n: Node) -> None:
        """See to it that a node's value is stored where later stages find it."""
        if n.op == "place" or id(n) in self._homes:
            return
        stage = self._level[id(n)]
        if n.dims == SCALAR:
            self._homes[id(n)] = Place("scalar", self._scalars)
            self._scalars += 1
            self._scalar(n, stage)
            self._stages[stage].scalar_stores.append((n, self._homes[id(n)]))
        else:
            self._homes[id(n)] = Place("scratch", self._scratch)
            self._scratch += 1
            self._use(n, stage)
            self._stages[stage].stores.append((n, self._homes[id(n)]))

    def _use(self, n: Node, stage: int) -> None:
        """See to it that the walk over units of this stage can name this value."""
        if not n.inputs or id(n) in self._present[stage]:
            return
        if id(n) in self._static or n.boolean:
            self._compute(n, stage)
        elif n.dims == SCALAR:
            self._home(n)
        elif self._level[id(n)] == stage or (self._cost[id(n)] <= _RECOMPUTE and id(n) not in self._homes):
            self._compute(n, stage)
        else:
            self._home(n)

    def _compute(self, n: Node, stage: int) -> None:
        self._present[stage].add(id(n))
        if n.op == "accumulate":
            for _, _, operand in matrix_terms(n):
                self._home(operand)
            if n.attributes[0]:
                self._use(n.inputs[0], stage)
            self._stages[stage].products.append(n)
            return
        for i in n.inputs:
            self._use(i, stage)
        self._stages[stage].body.append(n)

    def _scalar(self, n: Node, stage: int) -> None:
        """See to it that a number a row is computed at the end of this stage."""
        if not n.inputs or id(n) in self._present[stage]:
            return
        if self._level[id(n)] < stage and id(n) not in self._static and not n.boolean:
            self._home(n)
            return
        self._present[stage].add(id(n))
        if n.op in REDUCTIONS:
            self._use(n.inputs[0], stage)
            self._stages[stage].reductions.append(n)
            return
        for i in n.inputs:
            self._scalar(i, stage)
        self._stages[stage].scalars.append(n)


def operand_place(arrangement: Arrangement, operand: Node) -> Place:
    """Where a product's operand lies."""
    return place_of(operand) if operand.op == "place" else arrangement.homes[id(operand)]
