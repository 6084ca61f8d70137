"""From plan nodes to stages: what can be computed in one walk over the units, and what must wait for a whole
row.

A product needs its whole operand row, a reduction gives its scalar at the end of a row: each begins a new
stage, and so does the operation after very many. A stage is one walk over blocks of units (products into
accumulators, then elementwise operations), followed by operations on per-row scalars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .._graph import SCALAR, Node, topological_order
from .._ops import REDUCTIONS, TABLE
from ._lower import Place, matrix_terms, place_of
from ._trampoline import Task, run

_ACCUMULATING = "vector_gradient"
_RECOMPUTE = 4  # recomputing up to so many operations takes less time than a store and a load
_LONGEST = 1024  # operations in a stage: LLVM's time grows with the square of the length of a basic block
_TRANSCENDENTAL = 8  # one that is not recomputed is a polynomial, and counts as so many


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
    """The stages in order, and how many slots of scratch memory they need a row:
    `scratch` of units, `scalars` of per-row scalars; `homes` says where each stored node lies."""

    stages: list[Stage]
    scratch: int
    scalars: int
    homes: dict[Node, Place]


def arrange(targets: Sequence[tuple[Node, Place]]) -> Arrangement:
    """Return the stages that compute each target node and store it at its place."""
    return _Arranging(targets).result()


class _Arranging:
    def __init__(self, targets: Sequence[tuple[Node, Place]]) -> None:
        self._targets = targets
        self._level: dict[Node, int] = {}
        self._length: Counter[int] = Counter()
        self._static: set[Node] = set()
        self._cost: dict[Node, int] = {}
        for n in topological_order(n for n, _ in targets):
            self._note(n)
        count = 1 + max(self._level.values(), default=0)
        self._stages = [Stage() for _ in range(count)]
        self._present: list[set[Node]] = [set() for _ in range(count)]
        self._homes: dict[Node, Place] = {}
        self._scratch = self._scalars = 0

    def result(self) -> Arrangement:
        for n, place in self._targets:
            if place.kind != _ACCUMULATING and n.op != "place":
                self._homes.setdefault(n, place)
        for n, place in self._targets:
            run(self._store(n, place))
        return Arrangement(self._stages, self._scratch, self._scalars, self._homes)

    def _note(self, n: Node) -> None:
        """Find the first stage in which a node can be computed, and what recomputing it in a later one would
        cost."""
        if not n.inputs:
            self._level[n], self._cost[n] = 0, 0
            if n.op in ("constant", "size"):
                self._static.add(n)
            return
        level = 0
        for i in n.inputs:
            waits = n.op == "accumulate" and i.op != "place"
            waits |= n.dims != SCALAR and i.dims == SCALAR and i not in self._static and i.op != "place"
            level = max(level, self._level[i] + waits)
        if n.op != "accumulate":
            while self._length[level] >= _LONGEST:
                level += 1
            self._length[level] += _TRANSCENDENTAL if TABLE[n.op].save else 1
        self._level[n] = level
        if n.op in TABLE and n.op not in REDUCTIONS and all(i in self._static for i in n.inputs):
            self._static.add(n)
        recomputable = (
            n.op in TABLE
            and not TABLE[n.op].save
            and all(i.dims != SCALAR or i in self._static or i.op == "place" for i in n.inputs)
        )
        cost = 1 + sum(self._cost[i] for i in n.inputs)
        self._cost[n] = min(cost, _RECOMPUTE + 1) if recomputable else _RECOMPUTE + 1

    def _store(self, n: Node, place: Place) -> Task:
        """Compute a node in its own stage and write it to a place."""
        stage = self._level[n]
        if n.dims == SCALAR:
            yield self._scalar(n, stage)
            self._stages[stage].scalar_stores.append((n, place))
        else:
            yield self._use(n, stage)
            self._stages[stage].stores.append((n, place))

    def _home(self, n: Node) -> Task:
        """See to it that a node's value is stored where later stages find it."""
        if n.op == "place" or n in self._homes:
            return
        if n.dims == SCALAR:
            self._homes[n] = Place("scalar", self._scalars)
            self._scalars += 1
        else:
            self._homes[n] = Place("scratch", self._scratch)
            self._scratch += 1
        yield self._store(n, self._homes[n])

    def _use(self, n: Node, stage: int) -> Task:
        """See to it that the walk over units of this stage can name this value."""
        if not n.inputs or n in self._present[stage]:
            return
        if n in self._static or n.boolean:
            yield self._compute(n, stage)
        elif n.dims == SCALAR:
            yield self._home(n)
        elif self._level[n] == stage or (self._cost[n] <= _RECOMPUTE and n not in self._homes):
            yield self._compute(n, stage)
        else:
            yield self._home(n)

    def _compute(self, n: Node, stage: int) -> Task:
        self._present[stage].add(n)
        if n.op == "accumulate":
            for _, _, operand in matrix_terms(n):
                yield self._home(operand)
            if n.attributes[0]:
                yield self._use(n.inputs[0], stage)
            self._stages[stage].products.append(n)
            return
        for i in n.inputs:
            yield self._use(i, stage)
        self._stages[stage].body.append(n)

    def _scalar(self, n: Node, stage: int) -> Task:
        """See to it that a per-row scalar is computed at the end of this stage."""
        if not n.inputs or n in self._present[stage]:
            return
        if self._level[n] < stage and n not in self._static and not n.boolean:
            yield self._home(n)
            return
        self._present[stage].add(n)
        if n.op in REDUCTIONS:
            yield self._use(n.inputs[0], stage)
            self._stages[stage].reductions.append(n)
            return
        for i in n.inputs:
            yield self._scalar(i, stage)
        self._stages[stage].scalars.append(n)


def operand_place(arrangement: Arrangement, operand: Node) -> Place:
    """Where a product's operand lies."""
    return place_of(operand) if operand.op == "place" else arrangement.homes[operand]
