"""The LLVM lowering of a plan's stages, for the rows that are active at one timestep."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping

from .._graph import SCALAR, Node
from .._ops import TABLE
from .._plan import Arrangement, Place, Stage, operand_place, place_of, start_of
from ._cooperative import Ranks
from ._frame import Frame, Rows, Sums
from ._matrices import Walker, walk_matrices
from ._moves import write_move
from ._panels import Operand, Panel, accumulator_groups, operands_of
from ._sizes import Offsets, Sizes
from ._text import Integer, Value
from ._tiles import Walk, tile_shape
from ._unpacked import Matrix, Projected, Term, column_walk, has_transposed, row_products
from ._vectors import Vectors

_LONG_BODY = 64  # operations
_START = {"sum": 0.0, "max": float("-inf")}


def _reduction(v: Vectors, n: Node) -> Callable[[Value, Value], Value]:
    """What a reduction does with two values."""
    return v.add if n.op == "sum" else v.maximum


class StageWriter:
    """Writes the stages of an arrangement; collects the panels that they read.

    With `matrices`, which are not packed, it reads these in place of panels; `projected` are projections that
    are computed where accumulators begin from them.
    """

    def __init__(
        self,
        v: Vectors,
        arrangement: Arrangement,
        sizes: Sizes,
        ranks: Ranks | None = None,
        matrices: Mapping[str, Matrix] | None = None,
        projected: Mapping[int, Projected] | None = None,
    ) -> None:
        self._v, self._f, self._ranks, self._matrices = v, v.function, ranks, matrices
        self._projected = projected or {}
        self._arrangement, self._sizes = arrangement, sizes
        self.offsets = Offsets(sizes, arrangement.slots)
        self.panels: list[Panel] = []
        self._panel_size = 0
        self._memory: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def panel_size(self) -> int:
        """How many elements all panels hold."""
        return self._panel_size

    def sums_width(self) -> int:
        """How many elements a row the accumulators of the widest stage take."""
        return max(
            (len(s.products) * self._blocks(s) * self._v.lanes for s in self._arrangement.stages), default=0
        )

    def partials_width(self) -> int:
        """How many elements a row the partial reductions of the widest stage take."""
        return max((len(s.reductions) * self._v.lanes for s in self._arrangement.stages), default=0)

    def write(self, frame: Frame) -> None:
        """Write all stages for the rows of this timestep."""
        stages = self._arrangement.stages
        if any(len(stage.dims) == 2 for stage in stages) and not self._ranks:
            for has_products, run in itertools.groupby(stages, lambda stage: bool(stage.products)):
                if has_products:
                    for stage in run:
                        self._write(stage, frame)
                else:
                    self._row_by_row(list(run), frame)
            return
        for stage in stages:
            self._write(stage, frame)
            if self._ranks:
                self._ranks.wait()

    def _part(self, groups: int, size: int) -> tuple[Integer, Integer]:
        """The range of a row's groups, each of `size`, that this thread computes: all, or its part."""
        if self._ranks is None:
            return 0, groups * size
        begin, end = self._ranks.part(groups)
        return self._f.mul(begin, size), self._f.mul(end, size)

    # ---- one stage ----------------------------------------------------------------------------------------

    def _blocks(self, stage: Stage) -> int:
        """How many vectors a walk takes at a time: what suits the widest group of accumulators."""
        if self._matrices is not None and not any(map(has_transposed, stage.products)):
            return 1
        groups = accumulator_groups(stage, self._arrangement, self._sizes.registers)
        wide = max((len(g) for g in groups), default=0)
        return tile_shape(wide, self._all(stage), self._sizes.registers)[1] if wide else 1

    def _all(self, stage: Stage) -> int:
        """How many vectors the axis of a stage has."""
        return self._sizes.blocks(stage.dims[0])

    def _row_by_row(self, stages: list[Stage], frame: Frame) -> None:
        """Write stages without products, all of them for a row before the next: what a row of matrices waits
        for comes in while the small stages of its neighbours run."""
        v = self._v
        with self._f.loop(0, frame.rows) as rows:
            memory = Rows(v, self.offsets, frame, rows.index)
            for stage in stages:
                self._moves(stage, memory)
                reduced: list[Value] = []
                if len(stage.dims) == 2:
                    inside = frame.inside[stage.dims[1]]
                    walk_matrices(Walker(v, self._sizes, self._arrangement, inside, memory.address), stage)
                elif stage.stores or stage.reductions:
                    reduced = self._walk(stage, frame, memory)
                if stage.scalars or stage.reductions or stage.scalar_stores:
                    self._scalars_of(stage, memory, reduced)

    def _walk(self, stage: Stage, frame: Frame, memory: Rows) -> list[Value]:
        """Write the walk of a row over an axis; returns its reductions, not yet summed over the lanes."""
        v, blocks = self._v, self._all(stage)
        reduced = [v.constant(_START[n.op]) for n in stage.reductions]

        def block(at: Value, before: list[Value]) -> list[Value]:
            value = self._elementwise(stage, memory, at, {})
            operands = [self._inside(stage, frame, n, at, value(n.inputs[0])) for n in stage.reductions]
            return [
                _reduction(v, n)(a, b) for n, a, b in zip(stage.reductions, before, operands, strict=True)
            ]

        if blocks * len(stage.body) <= _LONG_BODY:
            for k in range(blocks):
                reduced = block(Value(str(k * v.lanes), "i64"), reduced)
            return reduced
        with self._f.loop(0, blocks * v.lanes, v.lanes, reduced) as loop:
            loop.next(block(loop.index, loop.carried))
        return loop.results

    def _moves(self, stage: Stage, memory: Rows) -> None:
        """Write what moves the elements of a row's vectors."""
        for n in stage.moves:
            *sources, target = (
                functools.partial(memory.address, operand_place(self._arrangement, i))
                for i in (*n.inputs, n)
                if i.op != "offset"
            )
            write_move(self._v, n, self._sizes, sources, target)

    def _write(self, stage: Stage, frame: Frame) -> None:
        f, v = self._f, self._v
        if stage.moves:
            with f.loop(0, frame.rows) as rows:
                self._moves(stage, Rows(v, self.offsets, frame, rows.index))
        if stage.reductions:
            with f.loop(0, frame.rows) as rows:
                for k, reduction in enumerate(stage.reductions):
                    v.store(v.constant(_START[reduction.op]), self._partial(frame, rows.index, k))
        if stage.products:
            blocks = self._blocks(stage)
            groups = accumulator_groups(stage, self._arrangement, self._sizes.registers)
            order = [n for group in groups for n in group]
            width = len(order) * blocks * v.lanes
            panels = [
                self._plan_panels(group, self._all(stage) // blocks, blocks)
                for group in (groups if self._matrices is None else ())
            ]
            with f.loop(*self._part(self._all(stage) // blocks, blocks), blocks) as loop:
                first = 0
                for k, group in enumerate(groups):
                    accumulators = Sums(
                        v, self._sizes, self.offsets, group, frame, loop.index, blocks, first, width
                    )
                    if self._matrices is None:
                        self._products(accumulators, panels[k])
                    else:
                        self._unpacked_products(accumulators, self._matrices)
                    first += len(group)
                with f.loop(0, frame.rows) as rows:
                    memory = Rows(self._v, self.offsets, frame, rows.index)
                    for b in range(blocks):
                        sums = {
                            id(n): v.load(
                                f.offset(memory.row("sums", width), (a * blocks + b) * v.lanes, v.element)
                            )
                            for a, n in enumerate(order)
                        }
                        at = f.add(f.mul(loop.index, v.lanes), b * v.lanes)
                        self._body(stage, frame, memory, at, sums)
        elif len(stage.dims) == 1 and (stage.stores or stage.reductions):
            begin, end = self._part(self._all(stage), v.lanes)
            with f.loop(0, frame.rows) as rows:
                memory = Rows(self._v, self.offsets, frame, rows.index)
                with f.loop(begin, end, v.lanes) as loop:
                    self._body(stage, frame, memory, loop.index, {})
        if stage.scalars or stage.reductions or stage.scalar_stores:
            with f.loop(0, frame.rows) as rows:
                memory = Rows(self._v, self.offsets, frame, rows.index)
                partial = (v.load(self._partial(frame, rows.index, k)) for k in range(len(stage.reductions)))
                self._scalars_of(stage, memory, partial)

    def _plan_panels(self, group: list[Node], groups: int, blocks: int) -> list[tuple[Panel, Operand]]:
        """The walks of a group of accumulators: their panels, and what they take."""
        result = []
        for operand in operands_of(group, self._arrangement, self._sizes, self.offsets):
            panel = Panel(self._panel_size, groups, operand.length, blocks, tuple(operand.parts))
            self._panel_size += panel.size(self._v.lanes)
            self.panels.append(panel)
            result.append((panel, operand))
        return result

    def _products(self, sums: Sums, panels: list[tuple[Panel, Operand]]) -> None:
        """Compute a group of accumulators from packed panels."""
        f, v, blocks = self._f, self._v, sums.blocks
        index = f.emit("i64", f"udiv {sums.block}, {blocks}") if blocks > 1 else sums.block
        walks = []
        for panel, taken in panels:
            address = f.offset(
                f.offset(sums.frame.panels, panel.offset, v.element),
                f.mul(index, panel.stride(v.lanes)),
                v.element,
            )
            operand = self._operand(sums.frame, self.offsets.of(taken.place), taken.place)
            walks.append(Walk(operand, len(panel.parts) * panel.length, address, taken.takers))
        sums.multiply(walks)

    def _unpacked_products(self, sums: Sums, matrices: Mapping[str, Matrix]) -> None:
        """Compute a group of accumulators from matrices as they lie: transposed ones down their columns, then
        the others along their rows."""
        f, v, blocks, column = self._f, self._v, sums.blocks, sums.column
        down: list[Walk] = []
        along: dict[int, list[Term]] = {}
        for taken in operands_of(sums.group, self._arrangement, self._sizes, self.offsets):
            for p, part in enumerate(taken.parts):
                begin = self.offsets.of(taken.place) + p * taken.length
                operand = self._operand(sums.frame, begin, taken.place)
                across: dict[int, Matrix] = {}
                for a, (name, transposed) in zip(taken.takers, part, strict=True):
                    if transposed:
                        across[a] = matrices[name]
                    else:
                        along.setdefault(a, []).append(Term(matrices[name], operand))
                if across:
                    down.append(column_walk(v, operand, [*across.values()], [*across], column, blocks))
        if down:
            sums.multiply(down)
        for a, mine in along.items():
            leaf = start_of(sums.group[a])
            own = None if leaf is None else self._projected.get(place_of(leaf).slot)
            own = own if leaf is not None and place_of(leaf).kind == "projection" else None
            terms = [*(own.terms if own else ()), *mine]
            for b in range(blocks):
                at = f.add(column, b * v.lanes) if b else column
                bias = own.bias(at) if own else None

                def start(row: Integer, a: int = a, b: int = b, bias: Value | None = bias) -> Value:
                    if bias is not None:
                        return bias
                    return v.load(sums.address(row, a, b)) if down else sums.start(row, a, b)

                def finish(row: Integer, value: Value, a: int = a, b: int = b) -> None:
                    v.store(value, sums.address(row, a, b))

                row_products(v, self._sizes.registers, sums.frame.rows, at, terms, start, finish)

    def _operand(self, frame: Frame, begin: int, place: Place) -> Callable[[Integer], Value]:
        """Where a row's operand of a product lies: `begin` elements behind the row's first of its kind."""
        f, v = self._f, self._v

        def operand(row: Integer) -> Value:
            if place.kind == "projection":  # rows of a table need not follow one another
                assert frame.projection_row is not None
                start = frame.projection_row(row)
            else:
                base, step = frame.bases[place.kind]
                start = f.offset(base, f.mul(row, step), v.element)
            return f.offset(start, begin, v.element)

        return operand

    def _elementwise(
        self, stage: Stage, memory: Rows, at: Value, sums: dict[int, Value]
    ) -> Callable[[Node], Value]:
        """Write the elementwise operations and the stores of a walk at an element; returns what gives its
        values."""
        v, values = self._v, dict(sums)

        def value(n: Node) -> Value:
            key = id(n)
            if key not in values:
                values[key] = self._read(n, memory, at)
            return values[key]

        places: dict[Node, list[Place]] = {}
        for n, place in stage.stores:
            places.setdefault(n, []).append(place)

        def store(n: Node) -> None:
            for place in places.pop(n, ()):
                address, result = memory.address(place, at), value(n)
                if place.kind == "vector_gradient":
                    result = v.add(v.load(address), result)
                v.store(result, address)

        for n in stage.body:
            lower = TABLE[n.op].llvm
            assert lower is not None, n.op
            values[id(n)] = lower(v, *(value(i) for i in n.inputs))
            if len(stage.body) > _LONG_BODY:  # what is stored at once needs no register until the end
                store(n)
        for n in list(places):
            store(n)
        return value

    def _body(self, stage: Stage, frame: Frame, memory: Rows, at: Value, sums: dict[int, Value]) -> None:
        """Write a walk at an element, with its reductions in memory."""
        v = self._v
        value = self._elementwise(stage, memory, at, sums)
        for k, reduction in enumerate(stage.reductions):
            address = self._partial(frame, memory.index, k)
            operand, old = value(reduction.inputs[0]), v.load(address)
            operand = self._inside(stage, frame, reduction, at, operand)
            v.store(_reduction(v, reduction)(old, operand), address)

    def _inside(self, stage: Stage, frame: Frame, reduction: Node, at: Value, operand: Value) -> Value:
        """A reduction's operand at an element, and in the padding what changes no sum and no maximum."""
        v = self._v
        (axis,) = stage.dims
        if not self._sizes.size(axis) % v.lanes:
            return operand
        inside = v.load(self._f.offset(frame.inside[axis], at, v.element), constant=True)
        return v.where(v.equal(inside, v.constant(1.0)), operand, v.constant(_START[reduction.op]))

    def _read(self, n: Node, memory: Rows, at: Value) -> Value:
        """A value that was not computed in this walk: a literal, or from its place."""
        v = self._v
        if n.op == "constant":
            return v.constant(float(n.attributes[0]))
        if n.op == "size":
            return v.constant(float(self._sizes.size(str(n.attributes[0]))))
        place = place_of(n) if n.op == "place" else self._arrangement.homes[n]
        if n.dims == SCALAR:
            return v.splat(memory.address(place, 0))
        return v.load(memory.address(place, at))

    def _partial(self, frame: Frame, row: Value, k: int) -> Value:
        base, step = frame.bases["partials"]
        f = self._f
        return f.offset(f.offset(base, f.mul(row, step), self._v.element), k * self._v.lanes, self._v.element)

    def _scalars_of(self, stage: Stage, memory: Rows, partial: Iterable[Value]) -> None:
        """A row's scalars: reductions completed, and what follows from them, the same in all lanes."""
        v, f = self._v, self._f
        values: dict[int, Value] = {}
        for n, lanes in zip(stage.reductions, partial, strict=True):
            values[id(n)] = v.broadcast(v.horizontal_sum(lanes) if n.op == "sum" else v.horizontal_max(lanes))

        def value(n: Node) -> Value:
            if id(n) not in values:
                values[id(n)] = self._read(n, memory, Value("0", "i64"))
            return values[id(n)]

        for n in stage.scalars:
            lower = TABLE[n.op].llvm
            assert lower is not None, n.op
            values[id(n)] = lower(v, *(value(i) for i in n.inputs))
        for n, place in stage.scalar_stores:
            first = f.emit(v.element, f"extractelement {value(n)}, i64 0")
            f.store(first, memory.address(place, 0), v.bits // 8)
