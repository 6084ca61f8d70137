"""Products in registers: rows times a packed matrix, and sums of outer products.

A tile of rows × vectors stays in registers while the common index runs. The code has a variant for every
count of rows that can remain, so that no row is padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ._prefetch import Prefetch
from ._text import Function, Integer, Value
from ._vectors import Vectors

_MOST_ROWS = 8
_PACKED = 128  # rows of deltas packed at a time: 32 KiB
_INDEPENDENT = 8  # independent sums that keep two multiply-add units of four cycles busy


@dataclass(frozen=True)
class Walk:
    """One run of the common index: operand rows of `length` elements, a panel
    [length][terms][blocks · lanes], and the accumulators (`terms`) that it adds to.

    In place of a panel a function that loads the vectors of weights at the index `k` + `offset`.
    """

    operand: Callable[[Integer], Value]
    length: Integer
    panel: Value | Callable[[Integer, int], list[Value]]
    terms: Sequence[int]


def tile_shape(accumulators: int, blocks: int, registers: int) -> tuple[int, int]:
    """Return (rows, vectors an accumulator): the tile with most arithmetic a load, `vectors` dividing
    `blocks`."""
    best, most = (1, 1), 0.0
    for vectors in range(1, 5):
        if blocks % vectors:
            continue
        wide = accumulators * vectors
        rows = tile_rows(wide, registers)
        if rows * wide + wide < registers:
            intensity = rows * wide / (rows + wide) * min(1.0, rows * wide / _INDEPENDENT)
            if intensity > most:
                best, most = (rows, vectors), intensity
    return best


def tile_rows(wide: int, registers: int) -> int:
    """Return how many rows of `wide` vectors fit into registers beside the weights and one element."""
    return max(1, min(_MOST_ROWS, (registers - wide - 1) // wide))


def over_tiles(f: Function, count: Integer, size: int, tile: Callable[[Integer, int], None]) -> None:
    """Call `tile(first, how many)` for `count` rows in tiles of `size`, and once for what remains."""
    if isinstance(count, int):
        full = count // size * size
    else:
        whole = f.emit("i64", f"udiv {count}, {size}")
        full = f.mul(whole, size)  # type: ignore[assignment]
    if not (isinstance(full, int) and full == 0):
        with f.loop(0, full, size) as loop:
            tile(loop.index, size)
    if isinstance(count, int):
        if count > full:
            tile(full, count - full)
        return
    rest = f.sub(count, full)
    for some in range(1, size):
        with f.when(f.compare("eq", rest, some)):
            tile(full, some)


def product(
    v: Vectors,
    rows: Integer,
    tile: tuple[int, int],
    accumulators: int,
    walks: Sequence[Walk],
    start: Callable[[Value | int, int, int], Value],
    finish: Callable[[Value | int, int, int, Value], None],
    prefetch: Prefetch | None = None,
) -> None:
    """Multiply rows with panels.

    `start(row, accumulator, block)` gives an accumulator's first value, `finish(row, accumulator, block,
    value)` takes its last. What `prefetch` says is asked for meanwhile."""
    f, (most, blocks) = v.function, tile

    def one(first: Integer, count: int) -> None:
        indices = [f.add(first, i) if i else first for i in range(count)]
        places = [(i, a, b) for i in range(count) for a in range(accumulators) for b in range(blocks)]
        sums = {place: start(indices[place[0]], *place[1:]) for place in places}
        for walk in walks:
            _walk(v, walk, indices, blocks, sums, prefetch)
        for place in places:
            finish(indices[place[0]], *place[1:], sums[place])

    over_tiles(f, rows, most, one)


def _walk(
    v: Vectors,
    walk: Walk,
    rows: Sequence[Integer],
    blocks: int,
    sums: dict[tuple[int, int, int], Value],
    prefetch: Prefetch | None,
) -> None:
    f = v.function
    pointers = [walk.operand(row) for row in rows]
    mine = [(i, a, b) for i in range(len(rows)) for a in walk.terms for b in range(blocks)]
    wide = len(walk.terms) * blocks
    split = 1
    while split < 4 and split * len(mine) < _INDEPENDENT:
        split *= 2
    zero = v.constant(0.0)
    parts = [[sums[place] for place in mine]] + [[zero] * len(mine) for _ in range(split - 1)]

    def packed(k: Integer, offset: int) -> list[Value]:
        assert isinstance(walk.panel, Value)
        at = f.offset(walk.panel, f.mul(k, wide * v.lanes), v.element)
        return [
            v.load(f.offset(at, (offset * wide + j) * v.lanes, v.element), constant=True) for j in range(wide)
        ]

    load = packed if isinstance(walk.panel, Value) else walk.panel

    def iteration(k: Integer, offset: int, values: list[Value]) -> list[Value]:
        weights = load(k, offset)
        if prefetch is not None:
            prefetch.beside(len(mine))
        result = []
        for i in range(len(rows)):
            element = v.splat(f.offset(f.offset(pointers[i], k, v.element), offset, v.element))
            result += [v.fma(weights[j], element, values[i * wide + j]) for j in range(wide)]
        return result

    length = walk.length
    main = length // split * split if isinstance(length, int) else length
    if not isinstance(length, int) and split > 1:
        main = f.emit("i64", f"and {length}, {-split}")
    if not (isinstance(main, int) and main == 0):
        with f.loop(0, main, split, [value for part in parts for value in part]) as loop:
            at = [loop.carried[s * len(mine) : (s + 1) * len(mine)] for s in range(split)]
            loop.next([value for s in range(split) for value in iteration(loop.index, s, at[s])])
        parts = [loop.results[s * len(mine) : (s + 1) * len(mine)] for s in range(split)]
    if isinstance(length, int) and isinstance(main, int):
        for k in range(main, length):
            parts[(k - main) % split] = iteration(main, k - main, parts[(k - main) % split])
    elif split > 1:
        with f.loop(main, length, 1, parts[0]) as loop:
            loop.next(iteration(loop.index, 0, loop.carried))
        parts[0] = loop.results
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [[v.add(x, y) for x, y in zip(parts[s], parts[s + half], strict=True)] for s in range(half)]
    for place, value in zip(mine, parts[0], strict=True):
        sums[place] = value


def outer(
    v: Vectors,
    registers: int,
    count: Value,
    operand: Callable[[Value], Value],
    length: Integer,
    delta: Callable[[Value], Value],
    vectors: int,
    gradient: Value,
    stride: int,
    packed: Value | None = None,
    prefetch: Prefetch | None = None,
) -> None:
    """Add the sum over `count` rows of operand ⊗ delta to `gradient` [length][stride].

    `operand(n)` is the address of `length` elements, `delta(n)` of `vectors` whole vectors. Where deltas lie
    far apart, each walk first brings its part of them together in `packed` (`packed_size` elements), which
    stays in the L1 cache. What `prefetch` says is asked for meanwhile.
    """
    f = v.function
    most, blocks = tile_shape(1, vectors, registers)
    wide = blocks * v.lanes

    def part_of(begin: Integer, rows: Value) -> None:
        with f.loop(0, vectors, blocks) as groups:
            column = f.mul(groups.index, v.lanes)

            def far(n: Value) -> Value:
                return f.offset(delta(f.add(begin, n)), column, v.element)

            def near(n: Value) -> Value:
                return far(n) if packed is None else f.offset(packed, f.mul(n, wide), v.element)

            if packed is not None:
                with f.loop(0, rows) as loop:
                    source, target = far(loop.index), near(loop.index)
                    for b in range(blocks):
                        at = b * v.lanes
                        v.store(v.load(f.offset(source, at, v.element)), f.offset(target, at, v.element))

            def one(first: Integer, height: int) -> None:
                at = f.offset(f.offset(gradient, f.mul(first, stride), v.element), column, v.element)
                places = [
                    f.offset(at, i * stride + b * v.lanes, v.element)
                    for i in range(height)
                    for b in range(blocks)
                ]
                for place in places if packed is not None else ():
                    v.prefetch(f.offset(place, height * stride, v.element))  # the next tile
                with f.loop(0, rows, 1, [v.load(place) for place in places]) as loop:
                    row = near(loop.index)
                    ds = [v.load(f.offset(row, b * v.lanes, v.element)) for b in range(blocks)]
                    elements = f.offset(operand(f.add(begin, loop.index)), first, v.element)
                    if prefetch is not None:
                        prefetch.beside(height * blocks)
                    following = []
                    for i in range(height):
                        element = v.splat(f.offset(elements, i, v.element))
                        following += [
                            v.fma(ds[b], element, loop.carried[i * blocks + b]) for b in range(blocks)
                        ]
                    loop.next(following)
                for place, value in zip(places, loop.results, strict=True):
                    v.store(value, place)

            over_tiles(f, length, most, one)

    if packed is None:
        part_of(0, count)
    else:
        with f.loop(0, count, _PACKED) as part:
            part_of(part.index, f.minimum(f.sub(count, part.index), _PACKED))


def packed_size(lanes: int) -> int:
    """How many elements `outer` packs at most."""
    return _PACKED * 4 * lanes


def column_sums(
    v: Vectors, count: Value, delta: Callable[[Value], Value], vectors: int, gradient: Value
) -> None:
    """Add the sum over `count` rows of `delta(n)`, `vectors` whole vectors, to `gradient`."""
    f = v.function
    blocks = next(b for b in (4, 3, 2, 1) if vectors % b == 0)
    with f.loop(0, vectors, blocks) as groups:
        column = f.mul(groups.index, v.lanes)
        places = [
            f.offset(f.offset(gradient, column, v.element), b * v.lanes, v.element) for b in range(blocks)
        ]
        with f.loop(0, count, 1, [v.load(place) for place in places]) as loop:
            row = f.offset(delta(loop.index), column, v.element)
            loop.next(
                [
                    v.add(sum_, v.load(f.offset(row, b * v.lanes, v.element)))
                    for b, sum_ in enumerate(loop.carried)
                ]
            )
        for place, value in zip(places, loop.results, strict=True):
            v.store(value, place)


def copy_row(v: Vectors, source: Value, target: Value, length: Integer, *, accumulate: bool) -> None:
    """Copy `length` elements from source to target, or (`accumulate`) add them there; no element beyond is
    touched."""
    f = v.function
    if isinstance(length, int):
        whole: Integer = length // v.lanes * v.lanes
    else:
        whole = f.emit("i64", f"and {length}, {-v.lanes}")

    def vector(at: Integer) -> None:
        place = f.offset(target, at, v.element)
        value = v.load(f.offset(source, at, v.element))
        v.store(v.add(v.load(place), value) if accumulate else value, place)

    if isinstance(whole, int) and whole <= 4 * v.lanes:
        for at in range(0, whole, v.lanes):
            vector(at)
    else:
        with f.loop(0, whole, v.lanes) as loop:
            vector(loop.index)
    if whole != length:
        with f.loop(whole, length) as loop:
            place = f.offset(target, loop.index, v.element)
            align = v.bits // 8
            value = f.load(v.element, f.offset(source, loop.index, v.element), align)
            if accumulate:
                old = f.load(v.element, place, align)
                value = f.emit(v.element, f"fadd {old}, {value.name}")
            f.store(value, place, align)


def store_some(v: Vectors, value: Value, address: Value, count: Value) -> None:
    """Store the first `count` elements of a vector (none if it is below one, all if it is the lanes or
    more)."""
    f, lanes = v.function, v.lanes
    mask = v.first_lanes(count)
    name = f"llvm.masked.store.v{lanes}f{v.bits}.p0"
    f.module.declare_void(name, [v.type, "ptr", mask.type])
    f.line(f"call void @{name}({value}, ptr align {v.bits // 8} {address.name}, {mask})")
