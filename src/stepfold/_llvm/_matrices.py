"""The walk over a row's own matrices: row after row of them, a few vectors of each at a time.

What the walk needs of vectors along their rows, and per-row scalars, is loaded once; of a vector along their
columns one element a matrix row. Products with vectors are summed as it goes: `matvec` along a matrix row, to
one element at its end; `matvec_transposed` down the columns, in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._graph import SCALAR, Node
from .._ops import TABLE
from .._plan import Arrangement, Place, Stage, place_of
from ._sizes import Sizes
from ._text import Value
from ._vectors import Vectors

_TRANSCENDENTAL = 8  # a polynomial counts as so many operations
_MOST = 512  # operations that a walk repeats in one go: LLVM's time grows faster than their number


@dataclass(frozen=True)
class Walker:
    """What a walk is written with: `address(place, at)` of a row of the batch, the table that is one inside
    the second axis."""

    v: Vectors
    sizes: Sizes
    arrangement: Arrangement
    inside: Value
    address: Callable[[Place, Value | int], Value]


def vectors_at_once(blocks: int, registers: int) -> int:
    """Return how many vectors of a matrix row a walk takes at a time."""
    most = 4 if registers >= 32 else 2
    return max(k for k in range(1, most + 1) if blocks % k == 0)


def matrices_read(stage: Stage) -> list[Place]:
    """The places of the matrices that a stage of two axes reads."""
    read = [i for n in (*stage.body, *stage.contractions) for i in n.inputs]
    return [place_of(i) for i in read if len(i.dims) == 2 and i.op == "place"]


def walk_matrices(w: Walker, stage: Stage) -> None:
    """Write a stage of two axes for one row of the batch."""
    height, width = stage.dims
    f, sizes = w.v.function, w.sizes
    blocks = sizes.blocks(width)
    cost = sum(_TRANSCENDENTAL if TABLE[n.op].save else 1 for n in stage.body)
    many = vectors_at_once(blocks, sizes.registers) if cost <= _MOST else 1
    group = w.v.group if cost * many * w.v.group <= _MOST else 1
    across = [n for n in stage.contractions if n.op == "matvec"]
    down = [n for n in stage.contractions if n.op == "matvec_transposed"]
    whole = many == blocks

    def columns(first: Value) -> None:
        walk = _Walk(w, stage, across, first, many)
        walk.prepare()
        pairs = [(n, k) for n in down for k in range(many)]
        sums = [w.v.constant(0.0)] * len(pairs)
        size = sizes.size(height)
        full = size // group * group
        for begin, end, step in ((0, full, group), (full, size, 1)):
            if begin == end:
                continue
            with f.loop(begin, end, step, sums) as loop:
                rows = [_MatrixRow(walk, f.add(loop.index, h) if h else loop.index) for h in range(step)]
                following = list(loop.carried)
                for row in rows:
                    for k in range(many):  # few values are held at once
                        row.compute(k)
                        for pair, (n, column) in enumerate(pairs):
                            if column == k:
                                following[pair] = row.sum(n, k, following[pair])
                for n in across:
                    walk.finish(rows, n, add=not whole)
                loop.next(following)
            sums = loop.results
        for (n, k), total in zip(pairs, sums, strict=True):
            at = f.add(first, k * w.v.lanes)
            w.v.store(total, w.address(w.arrangement.homes[n], at))

    if whole:
        columns(Value("0", "i64"))
        return
    for n in across:  # the parts of their sums are added up in memory
        with f.loop(0, sizes.padded(height), w.v.lanes) as loop:
            w.v.store(w.v.constant(0.0), w.address(w.arrangement.homes[n], loop.index))
    with f.loop(0, sizes.padded(width), many * w.v.lanes) as loop:
        columns(loop.index)


class _Walk:
    """A walk down some columns of a row's matrices being written, and what does not change on the way."""

    def __init__(self, w: Walker, stage: Stage, across: Sequence[Node], first: Value, many: int) -> None:
        self.w, self.stage, self.first, self.many = w, stage, first, many
        self.across = across
        self.width = stage.dims[1]
        self.fixed: dict[tuple[int, int], Value] = {}  # by node and vector
        self.places: dict[Node, list[Place]] = {}
        for n, place in stage.stores:
            self.places.setdefault(n, []).append(place)

    def column(self, k: int) -> Value:
        """Where the k-th vector begins in a matrix row."""
        return self.w.v.function.add(self.first, k * self.w.v.lanes)

    def place(self, n: Node) -> Place:
        """Where a value lies."""
        return place_of(n) if n.op == "place" else self.w.arrangement.homes[n]

    def prepare(self) -> None:
        """Load scalars, and vectors along the second axis."""
        for n in self.stage.body:
            for position, i in enumerate(n.inputs):
                if i.dims == SCALAR or (n.op == "outer" and position == 1):
                    self._fix(i)
        for n in self.stage.contractions:
            if n.op == "matvec":
                self._fix(n.inputs[1])

    def _fix(self, n: Node) -> None:
        """Load a scalar or a vector along the second axis, unless it is computed in the walk."""
        if n in self.stage.body or (id(n), 0) in self.fixed:
            return
        uniform = self.uniform(n) if n.op in ("constant", "size") or n.dims == SCALAR else None
        for k in range(self.many):
            address = None if uniform else self.w.address(self.place(n), self.column(k))
            self.fixed[id(n), k] = uniform or self.w.v.load(address)  # type: ignore[arg-type]

    def uniform(self, n: Node) -> Value:
        """A value that is the same everywhere: a literal, or a scalar from its place."""
        if n.op == "constant":
            return self.w.v.constant(float(n.attributes[0]))
        if n.op == "size":
            return self.w.v.constant(float(self.w.sizes.size(str(n.attributes[0]))))
        return self.w.v.splat(self.w.address(self.place(n), 0))

    def finish(self, rows: Sequence[_MatrixRow], n: Node, *, add: bool) -> None:
        """Sum matrix rows times a vector, and write the elements; `add` them to what is there."""
        v, f = self.w.v, self.w.v.function
        products = [row.products[n] for row in rows]
        found = v.horizontal_sums(products) if len(rows) > 1 else v.horizontal_sum(products[0])
        address = self.w.address(self.w.arrangement.homes[n], rows[0].index)
        if add:
            old = f.load(found.type, address, v.bits // 8)
            found = f.emit(found.type, f"fadd {old}, {found.name}")
        f.store(found, address, v.bits // 8)


class _MatrixRow:
    """One row of a row's matrices: what was computed of it."""

    def __init__(self, walk: _Walk, index: Value) -> None:
        self._walk, self._w, self._v, self._f = walk, walk.w, walk.w.v, walk.w.v.function
        self.index = index
        self._start = self._f.mul(index, walk.w.sizes.padded(walk.width))
        self._lefts: dict[int, Value] = {}
        self._values: list[dict[int, Value]] = [{} for _ in range(walk.many)]
        self.products: dict[Node, Value] = {}

    def compute(self, k: int) -> None:
        """Compute and store the values of the k-th vector of the matrix row, and add it to its products."""
        left = dict(self._walk.places)
        for n in self._walk.stage.body:
            self._values[k][id(n)] = self._computed(n, k)
            self._store(n, left.pop(n, []), k)
        for n, places in left.items():
            self._store(n, places, k)
        for n in self._walk.across:
            self.products[n] = self._product(n, k, self.products.get(n))

    def _computed(self, n: Node, k: int) -> Value:
        if n.op == "outer":
            return self._v.multiply(self._left(n.inputs[0], k), self.value(n.inputs[1], k))
        lower = TABLE[n.op].llvm
        assert lower is not None, n.op
        found: Value = lower(self._v, *(self.value(i, k) for i in n.inputs))
        return found

    def _store(self, n: Node, places: Sequence[Place], k: int) -> None:
        for place in places:
            address, value = self._element(place, k), self.value(n, k)
            if place.kind == "vector_gradient":
                value = self._v.add(self._v.load(address), value)
            self._v.store(value, address)

    def _element(self, place: Place, k: int) -> Value:
        return self._w.address(place, self._f.add(self._start, self._walk.column(k)))

    def value(self, n: Node, k: int) -> Value:
        """The k-th vector of a value: a matrix at this row, a vector along it, or a scalar."""
        found = self._values[k].get(id(n)) or self._walk.fixed.get((id(n), k))
        if found is None:
            if n.op in ("constant", "size"):
                found = self._walk.uniform(n)
            else:
                found = self._v.load(self._element(self._walk.place(n), k))
            self._values[k][id(n)] = found
        return found

    def _left(self, n: Node, k: int) -> Value:
        """The element of a vector along the first axis that belongs to this matrix row."""
        if id(n) in self._values[k]:  # the same everywhere
            return self._values[k][id(n)]
        if n.op in ("constant", "size"):
            return self._walk.uniform(n)
        if id(n) not in self._lefts:
            self._lefts[id(n)] = self._v.splat(self._w.address(self._walk.place(n), self.index))
        return self._lefts[id(n)]

    def _product(self, n: Node, k: int, before: Value | None) -> Value:
        """Add the k-th vector of the matrix row times a vector to those before it, lane by lane."""
        matrix, vector = n.inputs
        v, walk = self._v, self._walk
        size = self._w.sizes.size(walk.width)
        a, b = self.value(matrix, k), self.value(vector, k)
        last = walk.first.name != "0" or (k + 1) * v.lanes > size
        if size % v.lanes and last:
            inside = v.load(self._f.offset(self._w.inside, walk.column(k), v.element), constant=True)
            product = v.where(v.equal(inside, v.constant(1.0)), v.multiply(a, b), v.constant(0.0))
            return product if before is None else v.add(before, product)
        if _is_one(vector):  # a product that `a` may be is fused with the sum
            return a if before is None else v.add(before, a)
        return v.multiply(a, b) if before is None else v.fma(a, b, before)

    def sum(self, n: Node, k: int, before: Value) -> Value:
        """Add the matrix row times an element of a vector to a sum down the columns."""
        matrix, vector = n.inputs
        if _is_one(vector):
            return self._v.add(before, self.value(matrix, k))
        return self._v.fma(self.value(matrix, k), self._left(vector, k), before)


def _is_one(vector: Node) -> bool:
    return vector.op == "constant" and vector.attributes[0] == 1.0
