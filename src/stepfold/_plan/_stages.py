"""From plan nodes to stages: what can be computed in one walk over an axis, and what must wait for a whole
row.

A product needs its whole operand row, a reduction gives its scalar at the end of a row: each begins a new
level, and so does the operation after very many. What moves the elements of a vector needs the whole of it
too, and is done before the walk of its stage. A stage is one walk over blocks of one axis (products into
accumulators, then elementwise operations), followed by operations on per-row scalars; or a walk over the
matrices of a row, along which their products with vectors (`matvec`, `matvec_transposed`) are summed. A level
has a stage for all values of the same axes, one after the other, and behind them, where there are several,
one for the scalars that need more than one of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .._graph import SCALAR, UNITS, Dims, Node, topological_order
from .._moves import MOVES
from .._ops import REDUCTIONS, TABLE
from ._contractions import CONTRACTIONS
from ._lower import Place, matrix_terms, place_of
from ._trampoline import Task, run

_ACCUMULATING = "vector_gradient"
_SHARED = ("vector", "hoisted")  # the same for all rows
_MOVES = (*MOVES, "join")
_RECOMPUTE = 4  # recomputing up to so many operations takes less time than a store and a load
_RECOMPUTE_MATRIX = 8  # which is less likely to be in the nearest cache
_LONGEST = 1024  # operations in a stage: LLVM's time grows with the square of the length of a basic block
_TRANSCENDENTAL = 8  # one that is not recomputed is a polynomial, and counts as so many


Slots = Mapping[str, tuple[Dims, ...]]
"""For each kind of place the axes of the values in its slots."""


@dataclass
class Stage:
    """One walk over the axis, or the two axes, of `dims` (none: only scalars).

    `moves`: vectors made of the elements of others, all in memory; `products`: accumulators; `body`:
    elementwise nodes in order; `stores`: what is written; `reductions`: sums and maxima over the row; then,
    once a row, `scalars` in order and `scalar_stores`. `contractions`: in a walk over two axes, products with
    vectors, whose results lie at their homes at its end."""

    products: list[Node] = field(default_factory=list)
    body: list[Node] = field(default_factory=list)
    stores: list[tuple[Node, Place]] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)
    scalars: list[Node] = field(default_factory=list)
    scalar_stores: list[tuple[Node, Place]] = field(default_factory=list)
    contractions: list[Node] = field(default_factory=list)
    dims: Dims = UNITS
    moves: list[Node] = field(default_factory=list)


@dataclass
class Arrangement:
    """The stages in order; `homes` says where each stored node lies; `slots` the axes of all kinds of places,
    among them `scratch` memory and that of per-row scalars, `scalar`."""

    stages: list[Stage]
    homes: dict[Node, Place]
    slots: Slots


def arrange(targets: Sequence[tuple[Node, Place]], slots: Slots) -> Arrangement:
    """Return the stages that compute each target node and store it at its place; `slots` of the kinds of
    places that there are already."""
    return _Arranging(targets).result(slots)


Key = tuple[int, Dims]
"""A stage: its level and its axes."""


class _Arranging:
    def __init__(self, targets: Sequence[tuple[Node, Place]]) -> None:
        self._targets = targets
        self._level: dict[Node, int] = {}
        self._walk: dict[Node, Dims] = {}
        self._length: Counter[int] = Counter()
        self._static: set[Node] = set()
        self._cost: dict[Node, int] = {}
        nodes = topological_order(n for n, _ in targets)
        self._order = list(dict.fromkeys(n.dims for n in nodes if n.dims)) or [UNITS]
        self._earliest: dict[Node, int] = {}
        for n in nodes:
            self._note(n)
        if delayed := self._delayed(nodes):
            self._earliest = delayed
            self._length.clear()
            for n in nodes:
                self._note(n)
        self._stages: dict[Key, Stage] = {}
        # what a stage's walk can name, and what its operations on scalars can
        self._present: dict[Key, set[Node]] = defaultdict(set)
        self._ready: dict[Key, set[Node]] = defaultdict(set)
        self._contracted: set[Node] = set()
        self._moved: set[Node] = set()
        self._homes: dict[Node, Place] = {}
        self._scratch: list[Dims] = []
        self._scalars: list[Dims] = []

    def result(self, slots: Slots) -> Arrangement:
        if len(self._order) == 1:
            for level in range(1 + max(self._level.values(), default=0)):
                self._stage((level, self._order[0]))
        for n, place in self._targets:
            if place.kind != _ACCUMULATING and n.op != "place":
                self._homes.setdefault(n, place)
        for n, place in self._targets:
            run(self._store(n, place))
        order = {dims: k for k, dims in enumerate([*self._order, SCALAR])}
        stages = [self._stages[key] for key in sorted(self._stages, key=lambda key: (key[0], order[key[1]]))]
        own = {"scratch": tuple(self._scratch), "scalar": tuple(self._scalars)}
        return Arrangement(stages, self._homes, {**slots, **own})

    def _stage(self, key: Key) -> Stage:
        return self._stages.setdefault(key, Stage(dims=key[1]))

    def _key(self, n: Node) -> Key:
        """The stage in which a node is computed first."""
        return self._level[n], self._walk[n]

    def _walk_of(self, n: Node) -> Dims:
        """The axes of the stage that computes a node of a known level."""
        if n.op in REDUCTIONS or n.op in CONTRACTIONS:
            return n.inputs[0].dims
        if n.dims != SCALAR:
            return n.dims
        if len(self._order) == 1:
            return self._order[0]
        computed = (i for i in n.inputs if i.inputs and i not in self._static)
        here = {self._walk[i] for i in computed if self._level[i] == self._level[n]}
        return here.pop() if len(here) == 1 else SCALAR

    def _note(self, n: Node) -> None:
        """Find the first stage in which a node can be computed, and what recomputing it in a later one would
        cost."""
        if not n.inputs:
            self._level[n], self._cost[n] = 0, 0
            self._walk[n] = self._walk_of(n)
            parameter = n.op == "place" and n.attributes[0] in _SHARED and n.dims == SCALAR
            if n.op in ("constant", "size") or parameter:
                self._static.add(n)
            return
        level = self._earliest.get(n, 0)
        for i in n.inputs:
            waits = i.op != "place" and self._waits(n, i)
            level = max(level, self._level[i] + waits)
        if n.op != "accumulate":
            while self._length[level] >= _LONGEST:
                level += 1
            self._length[level] += _TRANSCENDENTAL if n.op in TABLE and TABLE[n.op].save else 1
        self._level[n] = level
        self._walk[n] = self._walk_of(n)
        elementwise = n.op in TABLE and n.op not in (*REDUCTIONS, *CONTRACTIONS, *_MOVES)
        if elementwise and all(i in self._static for i in n.inputs):
            self._static.add(n)
        # a matrix is much to store: scalars that it takes are stored instead
        plain = len(n.dims) == 2 or all(
            i.dims != SCALAR or i in self._static or i.op == "place" for i in n.inputs
        )
        recomputable = n.op in TABLE and not TABLE[n.op].save and plain
        most = self._most(n)
        cost = 1 + sum(self._cost[i] for i in n.inputs if i.dims == n.dims or i in self._static)
        self._cost[n] = min(cost, most + 1) if recomputable else most + 1
        if n.op in _MOVES:  # it is read from memory anyway
            self._cost[n] = 0

    def _delayed(self, nodes: Sequence[Node]) -> dict[Node, int]:
        """Products of matrices that can wait for a later walk, to each the level of that walk: one that has
        the matrix anyway, or, where a walk would read matrices for such products alone, the next one."""
        walks: dict[Key, list[Node]] = defaultdict(list)
        for n in (*(n for n in nodes if n.op in CONTRACTIONS), *(n for n, _ in self._targets)):
            if len(self._walk[n]) == 2:
                walks[self._key(n)].append(n)
        last = max(self._level.values(), default=0)
        latest = dict.fromkeys(nodes, last)
        for n in reversed(nodes):
            for i in n.inputs:
                waits = i.op != "place" and self._waits(n, i)
                latest[i] = min(latest[i], latest[n] - waits)
        having = {key: _matrices(roots) for key, roots in walks.items()}
        found: dict[Node, int] = {}
        for (level, dims), mine in walks.items():
            later = sorted(at for at, others in walks if others == dims and at > level)
            products = [n for n in mine if n.op in CONTRACTIONS]
            for n in products:
                at = next((at for at in later if n.inputs[0] in having[at, dims]), last + 1)
                if at <= latest[n]:
                    found[n] = at
            rest = [n for n in mine if n not in found]
            if later and all(
                n.op in CONTRACTIONS and n.inputs[0].op == "place" and latest[n] >= later[0] for n in rest
            ):
                found.update(dict.fromkeys(rest, later[0]))
        return found

    def _most(self, n: Node) -> int:
        """How many operations a value is computed again by, at most."""
        return _RECOMPUTE_MATRIX if len(n.dims) == 2 else _RECOMPUTE

    def _waits(self, n: Node, i: Node) -> bool:
        """Whether a node can be computed only after the walk that computes its input."""
        if n.op in _MOVES:
            return i.op != "offset"
        if n.op == "accumulate" or i in self._static:
            return n.op == "accumulate"
        if i.dims == SCALAR:
            return n.dims != SCALAR
        walk = i.dims if n.op in REDUCTIONS else n.inputs[0].dims if n.op in CONTRACTIONS else n.dims
        return i.dims != walk or self._walk[i] != walk

    def _store(self, n: Node, place: Place) -> Task:
        """Compute a node in its own stage and write it to a place."""
        key = self._key(n)
        if n.op in CONTRACTIONS:
            self._settle(n)
            yield self._contract(n)
            if self._homes[n] != place:  # a copy, by a walk over its own axis
                self._stage((key[0] + 1, n.dims)).stores.append((n, place))
            return
        if n.op in _MOVES:
            self._settle(n)
            yield self._move(n)
            if self._homes[n] != place:
                self._stage(key).stores.append((n, place))
            return
        if n.dims == SCALAR:
            yield self._scalar(n, key)
            self._stage(key).scalar_stores.append((n, place))
        else:
            yield self._use(n, key)
            self._stage(key).stores.append((n, place))

    def _home(self, n: Node) -> Task:
        """See to it that a node's value is stored where later stages find it."""
        if n.op == "place" or n in self._homes:
            return
        self._settle(n)
        yield self._store(n, self._homes[n])

    def _settle(self, n: Node) -> None:
        """Give a node a home in scratch memory, if it has none."""
        if n not in self._homes:
            kind, slots = ("scalar", self._scalars) if n.dims == SCALAR else ("scratch", self._scratch)
            self._homes[n] = Place(kind, len(slots))
            slots.append(n.dims)

    def _contract(self, n: Node) -> Task:
        """See to it that a product of a row's own matrix with a vector is computed."""
        if n in self._contracted:
            return
        self._contracted.add(n)
        key, (matrix, vector) = self._key(n), n.inputs
        yield self._use(matrix, key)
        yield self._operand(vector, key)
        self._stage(key).contractions.append(n)

    def _move(self, n: Node) -> Task:
        """See to it that a vector is made of the elements of another."""
        if n not in self._moved:
            self._moved.add(n)
            for i in n.inputs:
                if i.op != "offset":
                    yield self._home(i)
            self._stage(self._key(n)).moves.append(n)

    def _operand(self, n: Node, key: Key) -> Task:
        """See to it that a walk over two axes finds a vector of one of them in memory."""
        if n in self._static:
            yield self._use(n, key)
        else:
            yield self._home(n)

    def _use(self, n: Node, key: Key) -> Task:
        """See to it that the walk of this stage can name this value."""
        if not n.inputs or n in self._present[key]:
            return
        if n in self._static or n.boolean:
            yield self._compute(n, key)
        elif n.dims == SCALAR or n.op in CONTRACTIONS or n.op in _MOVES:
            yield self._home(n)
        elif self._level[n] == key[0] or (self._cost[n] <= self._most(n) and n not in self._homes):
            yield self._compute(n, key)
        else:
            yield self._home(n)

    def _compute(self, n: Node, key: Key) -> Task:
        self._present[key].add(n)
        if n.op == "accumulate":
            for _, _, operand in matrix_terms(n):
                yield self._home(operand)
            if n.attributes[0]:
                yield self._use(n.inputs[0], key)
            self._stage(key).products.append(n)
            return
        for i in n.inputs:
            yield self._operand(i, key) if n.op == "outer" else self._use(i, key)
        self._stage(key).body.append(n)

    def _scalar(self, n: Node, key: Key) -> Task:
        """See to it that a per-row scalar is computed at the end of this stage."""
        if not n.inputs or n in self._ready[key]:
            return
        if self._key(n) != key and n not in self._static and not n.boolean:
            yield self._home(n)
            return
        self._ready[key].add(n)
        if n.op in REDUCTIONS:
            yield self._use(n.inputs[0], key)
            self._stage(key).reductions.append(n)
            return
        for i in n.inputs:
            yield self._scalar(i, key)
        self._stage(key).scalars.append(n)


def _matrices(roots: Iterable[Node]) -> set[Node]:
    """The matrices that a walk has at hand which computes these values."""
    return set(topological_order(roots, lambda n: (i for i in n.inputs if len(i.dims) == 2)))


def operand_place(arrangement: Arrangement, operand: Node) -> Place:
    """Where a product's operand lies."""
    return place_of(operand) if operand.op == "place" else arrangement.homes[operand]
