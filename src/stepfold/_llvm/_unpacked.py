"""Products with matrices that are not packed: they lie row after row, as their owner keeps them.

The elements of a product with a matrix are sums along its rows: as many rows as a vector has lanes are walked
over side by side, and their sums become one vector. The elements of a product with its transpose are sums
down its columns, as with a packed matrix (`_tiles`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .._graph import Node
from .._plan import Arrangement, matrix_terms, place_of, start_of
from ._text import Integer, Value
from ._tiles import Walk, over_tiles
from ._vectors import Vectors

_INDEPENDENT = 8  # independent sums that keep two multiply-add units of four cycles busy
_ROWS = 3  # rows of operands for which a vector of weights is loaded once


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory: where its first element lies, and how many rows and columns it has."""

    address: Value
    rows: int
    columns: int


@dataclass(frozen=True)
class Term:
    """A matrix and its operand: `operand(row)` is the address of as many elements as the matrix has
    columns."""

    matrix: Matrix
    operand: Callable[[Integer], Value]


class Projected(NamedTuple):
    """A projection that is computed where accumulators begin from it: its products with the input, and what
    gives its bias at an element."""

    terms: Sequence[Term]
    bias: Callable[[Value], Value]


def begun_from(arrangement: Arrangement) -> set[int]:
    """The slots of the projections from which accumulators along rows of matrices begin, each one, and that
    nothing else reads; none where a matrix is transposed."""
    products = [n for stage in arrangement.stages for n in stage.products]
    if any(map(has_transposed, products)):
        return set()
    starts = [place_of(leaf) for leaf in map(start_of, products) if leaf is not None]
    found = Counter(place.slot for place in starts if place.kind == "projection")
    stages = arrangement.stages
    nodes = [
        i for stage in stages for n in (*stage.body, *stage.reductions, *stage.scalars) for i in n.inputs
    ]
    nodes += [n for stage in stages for n, _ in (*stage.stores, *stage.scalar_stores)]
    nodes += [i for stage in stages for n in stage.moves for i in n.inputs]
    nodes += [operand for n in products for _, _, operand in matrix_terms(n)]
    read = {place_of(n).slot for n in nodes if n.op == "place" and place_of(n).kind == "projection"}
    return {slot for slot, count in found.items() if count == 1} - read


def has_transposed(accumulator: Node) -> bool:
    """Whether an accumulator has a product with a transposed matrix."""
    return any(transposed for _, transposed, _ in matrix_terms(accumulator))


def row_products(
    v: Vectors,
    registers: int,
    rows: Integer,
    first: Value,
    terms: Sequence[Term],
    start: Callable[[Integer], Value],
    finish: Callable[[Integer, Value], None],
) -> None:
    """Compute the elements from `first` on, one vector of them, of the sum of all terms, for each of `rows`
    rows of operands.

    `start(row)` gives what is added, `finish(row, value)` takes the sum. Lanes beyond a matrix's last row
    hold the element of that row.
    """
    f = v.function
    lines = [_lines(v, term.matrix, first) for term in terms]

    def tile(begin: Integer, count: int) -> None:
        indices = [f.add(begin, i) if i else begin for i in range(count)]
        operands = [[term.operand(index) for index in indices] for term in terms]
        width = _width(v, registers, count)
        sums: list[list[Value]] = [[] for _ in indices]
        for lane in range(0, v.lanes, width):
            split = max(1, _INDEPENDENT // (width * count))
            parts = [[v.constant(0.0)] * (width * count)] * split
            for term, mine, operand in zip(terms, lines, operands, strict=True):
                parts = _walk(v, mine[lane : lane + width], operand, term.matrix.columns, parts)
            total = parts[0]
            for part in parts[1:]:
                total = [v.add(a, b) for a, b in zip(total, part, strict=True)]
            for i in range(count):
                sums[i] += total[i * width : (i + 1) * width]
        for index, mine in zip(indices, sums, strict=True):
            finish(index, v.add(_sums_of_lanes(v, mine), start(index)))

    over_tiles(f, rows, _ROWS, tile)


def _width(v: Vectors, registers: int, count: int) -> int:
    """How many of a vector's elements are summed at a time for so many rows of operands: as many as fit into
    registers beside the operands and one weight."""
    width = v.lanes
    while width > v.group and (width + 1) * count >= registers:
        width //= 2
    return width


def _lines(v: Vectors, matrix: Matrix, first: Value) -> list[Value]:
    """Where the rows of a matrix from `first` on begin, one a lane; beyond the last, that one's."""
    f, found = v.function, []
    for lane in range(v.lanes):
        number: Integer = f.add(first, lane) if lane else first
        if matrix.rows % v.lanes:
            number = f.minimum(number, matrix.rows - 1)
        found.append(f.offset(matrix.address, f.mul(number, matrix.columns), v.element))
    return found


def _walk(
    v: Vectors,
    lines: Sequence[Value],
    operands: Sequence[Value],
    length: int,
    parts: Sequence[list[Value]],
) -> list[list[Value]]:
    """Add the products of lines with operands, lane by lane, to independent sums, one an operand and line."""
    f, lanes, split, wide = v.function, v.lanes, len(parts), len(lines) * len(operands)
    step = split * lanes

    def added(at: Integer, sums: Sequence[Value], count: int = lanes) -> list[Value]:
        elements = [load_some(v, f.offset(operand, at, v.element), count) for operand in operands]
        following = list(sums)
        for k, line in enumerate(lines):  # one weight after the other: there is a register for one
            weight = load_some(v, f.offset(line, at, v.element), count, constant=True)
            for i, element in enumerate(elements):
                j = i * len(lines) + k
                following[j] = v.fma(weight, element, following[j])
        return following

    main, found = length // step * step, list(parts)
    if main:
        with f.loop(0, main, step, [value for part in parts for value in part]) as loop:
            following: list[Value] = []
            for s in range(split):
                at = f.add(loop.index, s * lanes) if s else loop.index
                following += added(at, loop.carried[s * wide : (s + 1) * wide])
            loop.next(following)
        found = [loop.results[s * wide : (s + 1) * wide] for s in range(split)]
    for k, begin in enumerate(range(main, length, lanes)):
        found[k % split] = added(begin, found[k % split], min(lanes, length - begin))
    return found


def _sums_of_lanes(v: Vectors, values: Sequence[Value]) -> Value:
    """The sums of the lanes of as many vectors as there are lanes, as one vector."""
    f, group = v.function, v.group
    found = [v.horizontal_sums(values[k : k + group]) for k in range(0, v.lanes, group)]
    count = group
    while len(found) > 1:
        count *= 2
        lanes = ", ".join(f"i32 {i}" for i in range(count))
        found = [
            f.emit(f"<{count} x {v.element}>", f"shufflevector {a}, {b}, <{count} x i32> <{lanes}>")
            for a, b in zip(found[::2], found[1::2], strict=True)
        ]
    return found[0]


def column_walk(
    v: Vectors,
    operand: Callable[[Integer], Value],
    matrices: Sequence[Matrix],
    takers: Sequence[int],
    column: Value,
    blocks: int,
) -> Walk:
    """The walk down the columns from `column` on, `blocks` vectors of them, of matrices of equal size, one an
    accumulator."""
    f, lanes = v.function, v.lanes
    rows, columns = matrices[0].rows, matrices[0].columns
    first = [f.offset(matrix.address, column, v.element) for matrix in matrices]
    left = [f.sub(columns, f.add(column, b * lanes)) for b in range(blocks)] if columns % lanes else []

    def weights(k: Integer, offset: int) -> list[Value]:
        found = []
        for address in first:
            line = f.offset(f.offset(address, f.mul(k, columns), v.element), offset * columns, v.element)
            for b in range(blocks):
                at = f.offset(line, b * lanes, v.element)
                found.append(load_some(v, at, left[b] if left else lanes, constant=True))
        return found

    return Walk(operand, rows, weights, takers)


def load_some(v: Vectors, address: Value, count: Integer, *, constant: bool = False) -> Value:
    """Load the first `count` elements of a vector, zeros behind them; no element beyond is touched."""
    if isinstance(count, int) and count >= v.lanes:
        return v.load(address, constant=constant)
    f, mask = v.function, v.first_lanes(count)
    name = f"llvm.masked.load.v{v.lanes}f{v.bits}.p0"
    f.module.declare(name, v.type, ["ptr", mask.type, v.type])
    return f.emit(
        v.type,
        f"call {v.type} @{name}(ptr align {v.bits // 8} {address.name}, {mask}, {v.type} zeroinitializer)",
    )
