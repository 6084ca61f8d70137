"""The walk over a row's own matrices: row after row of them, a few vectors of each at a time.

What the walk needs of vectors along their rows, and per-row scalars, is loaded once; of a vector along their
columns one element a matrix row. Products with vectors are summed as it goes: `matvec` along a matrix row, to
one element at its end; `matvec_transposed` down the columns, in registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._graph import SCALAR, Node
from .._ops import TABLE
from .._plan import Arrangement, Place, Stage, place_of
from ._sizes import Sizes
from ._text import Value
from ._vectors import Vectors


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


def walk_matrices(w: Walker, stage: Stage) -> None:
    """Write a stage of two axes for one row of the batch."""
    height, width = stage.dims
    f, sizes = w.v.function, w.sizes
    blocks = sizes.blocks(width)
    many = vectors_at_once(blocks, sizes.registers)
    across = [n for n in stage.contractions if n.op == "matvec"]
    down = [n for n in stage.contractions if n.op == "matvec_transposed"]
    whole = many == blocks

    def columns(first: Value) -> None:
        walk = _Walk(w, stage, first, many)
        walk.prepare()
        zeros = [w.v.constant(0.0)] * (len(down) * many)
        with f.loop(0, sizes.size(height), 1, zeros) as rows:
            walk.begin_row(rows.index)
            walk.body()
            for n in across:
                walk.finish_row(n, add=not whole)
            pairs = [(n, k) for n in down for k in range(many)]
            rows.next([walk.sum(n, k, sum_) for (n, k), sum_ in zip(pairs, rows.carried, strict=True)])
        for (n, k), sum_ in zip(pairs, rows.results, strict=True):
            at = f.add(first, k * w.v.lanes)
            w.v.store(sum_, w.address(w.arrangement.homes[n], at))

    if whole:
        columns(Value("0", "i64"))
        return
    for n in across:  # the parts of their sums are added up in memory
        with f.loop(0, sizes.padded(height), w.v.lanes) as loop:
            w.v.store(w.v.constant(0.0), w.address(w.arrangement.homes[n], loop.index))
    with f.loop(0, sizes.padded(width), many * w.v.lanes) as loop:
        columns(loop.index)


class _Walk:
    """A walk down some columns of a row's matrices being written."""

    def __init__(self, w: Walker, stage: Stage, first: Value, many: int) -> None:
        self._w, self._v, self._f = w, w.v, w.v.function
        self._stage, self._first, self._many = stage, first, many
        self._height, self._width = stage.dims
        self._fixed: dict[tuple[int, int], Value] = {}  # by node and vector
        self._lefts: dict[int, Value] = {}
        self._values: list[dict[int, Value]] = []
        self._row: Value = first
        self._start: Value = first

    def _column(self, k: int) -> Value:
        return self._f.add(self._first, k * self._v.lanes)

    # ---- what does not change from matrix row to matrix row -----------------------------------------------

    def prepare(self) -> None:
        """Load scalars, and vectors along the second axis."""
        for n in self._stage.body:
            for position, i in enumerate(n.inputs):
                if i.dims == SCALAR or (n.op == "outer" and position == 1):
                    self._fix(i)
        for n in self._stage.contractions:
            if n.op == "matvec":
                self._fix(n.inputs[1])

    def _fix(self, n: Node) -> None:
        """Load a scalar or a vector along the second axis, unless it is computed in the walk."""
        if n in self._stage.body or (id(n), 0) in self._fixed:
            return
        for k in range(self._many):
            if n.op in ("constant", "size") or n.dims == SCALAR:
                self._fixed[id(n), k] = self._fixed.get((id(n), 0)) or self._uniform(n)
            else:
                self._fixed[id(n), k] = self._v.load(self._w.address(self._place(n), self._column(k)))

    def _uniform(self, n: Node) -> Value:
        """A value that is the same everywhere: a literal, or a scalar from its place."""
        if n.op == "constant":
            return self._v.constant(float(n.attributes[0]))
        if n.op == "size":
            return self._v.constant(float(self._w.sizes.size(str(n.attributes[0]))))
        return self._v.splat(self._w.address(self._place(n), 0))

    def _place(self, n: Node) -> Place:
        return place_of(n) if n.op == "place" else self._w.arrangement.homes[n]

    # ---- one matrix row -----------------------------------------------------------------------------------

    def begin_row(self, row: Value) -> None:
        """Go on to a matrix row."""
        self._row = row
        self._start = self._f.mul(row, self._w.sizes.padded(self._width))
        self._lefts = {}
        self._values = [{} for _ in range(self._many)]

    def body(self) -> None:
        """Compute and store the values of the matrix row."""
        places: dict[Node, list[Place]] = {}
        for n, place in self._stage.stores:
            places.setdefault(n, []).append(place)
        for n in self._stage.body:
            for k in range(self._many):
                self._values[k][id(n)] = self._computed(n, k)
            self._store(n, places.pop(n, ()))
        for n in list(places):
            self._store(n, places.pop(n))

    def _computed(self, n: Node, k: int) -> Value:
        if n.op == "outer":
            return self._v.multiply(self._left(n.inputs[0], k), self.value(n.inputs[1], k))
        lower = TABLE[n.op].llvm
        assert lower is not None, n.op
        found: Value = lower(self._v, *(self.value(i, k) for i in n.inputs))
        return found

    def _store(self, n: Node, places: tuple[Place, ...] | list[Place]) -> None:
        for place in places:
            for k in range(self._many):
                address, value = self._element(place, k), self.value(n, k)
                if place.kind == "vector_gradient":
                    value = self._v.add(self._v.load(address), value)
                self._v.store(value, address)

    def _element(self, place: Place, k: int) -> Value:
        return self._w.address(place, self._f.add(self._start, self._column(k)))

    def value(self, n: Node, k: int) -> Value:
        """The k-th vector of a value: a matrix at this row, a vector along it, or a scalar."""
        found = self._values[k].get(id(n)) or self._fixed.get((id(n), k))
        if found is None:
            literal = n.op in ("constant", "size")
            found = self._uniform(n) if literal else self._v.load(self._element(self._place(n), k))
            self._values[k][id(n)] = found
        return found

    def _left(self, n: Node, k: int) -> Value:
        """The element of a vector along the first axis that belongs to this matrix row."""
        if id(n) in self._values[k]:  # the same everywhere
            return self._values[k][id(n)]
        if n.op in ("constant", "size"):
            return self._uniform(n)
        if id(n) not in self._lefts:
            self._lefts[id(n)] = self._v.splat(self._w.address(self._place(n), self._row))
        return self._lefts[id(n)]

    # ---- products with vectors ----------------------------------------------------------------------------

    def finish_row(self, n: Node, *, add: bool) -> None:
        """Sum a matrix row times a vector, and write the element; `add` it to what is there."""
        matrix, vector = n.inputs
        v, f, size = self._v, self._f, self._w.sizes.size(self._width)
        total: Value | None = None
        for k in range(self._many):
            a, b = self.value(matrix, k), self.value(vector, k)
            last = self._first.name != "0" or (k + 1) * v.lanes > size
            if size % v.lanes and last:
                inside = v.load(f.offset(self._w.inside, self._column(k), v.element), constant=True)
                product = v.where(v.equal(inside, v.constant(1.0)), v.multiply(a, b), v.constant(0.0))
                total = product if total is None else v.add(total, product)
            else:
                total = v.multiply(a, b) if total is None else v.fma(a, b, total)
        assert total is not None
        element = v.horizontal_sum(total)
        address = self._w.address(self._w.arrangement.homes[n], self._row)
        if add:
            old = f.load(v.element, address, v.bits // 8)
            element = f.emit(v.element, f"fadd {old}, {element.name}")
        f.store(element, address, v.bits // 8)

    def sum(self, n: Node, k: int, before: Value) -> Value:
        """Add a matrix row times an element of a vector to a sum down the columns."""
        matrix, vector = n.inputs
        return self._v.fma(self.value(matrix, k), self._left(vector, k), before)
