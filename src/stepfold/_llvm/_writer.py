"""One kernel of a plan being written: its arguments loaded, and the parts that several kernels share."""

from __future__ import annotations

from collections.abc import Callable

from .._plan import Arrangement
from ._cooperative import Ranks
from ._layout import INPUT_BLOCKS, Kernel, Layout
from ._signature import Signature
from ._stage import Panel, StageWriter
from ._text import Function, Integer, Module, Value
from ._tiles import Walk, outer, product, store_some, tile_rows
from ._vectors import Vectors


class Writer:
    """One kernel being written: its arguments loaded (`a`), vector operations at hand (`v`)."""

    def __init__(self, layout: Layout, name: str, signature: Signature) -> None:
        self.layout, self.plan, self.shape = layout, layout.plan, layout.shape
        self.module = Module()
        self.f = Function(self.module, name, [("arguments", "ptr")])
        self.v = Vectors(self.f, layout.bits, layout.shape.lanes)
        self.name, self.signature = name, signature
        self.a: dict[str, Value] = {
            argument: self.f.load(type_, self.f.offset(self.f.arguments[0], k, "i64"), 8)
            for k, (argument, type_) in enumerate(signature.items())
        }

    def finish(self, panels: list[Panel] | None = None, panel_size: int = 0, scratch: int = 0) -> Kernel:
        self.module.add(self.f)
        return Kernel(
            self.module.text(), self.name, tuple(self.signature), tuple(panels or ()), panel_size, scratch
        )

    def at(self, base: Value, index: Integer, stride: Integer) -> Value:
        """The address of the `index`-th row of `stride` elements."""
        return self.f.offset(base, self.f.mul(index, stride), self.v.element)

    def index(self, array: str, n: Integer) -> Value:
        """The n-th element of an index array."""
        return self.f.load("i64", self.f.offset(self.a[array], n, "i64"), 8)

    def input_row(self, n: Integer, array: str = "source") -> Value:
        """The address of the n-th input that an index array lists."""
        return self.f.offset(
            self.a["inputs"], self.f.mul(self.index(array, n), self.a["features"]), self.v.element
        )

    def inside(self) -> Value:
        """A table that is one for a unit and zero for what pads a row."""
        one, zero = ("1.0", "0.0")
        element, units = self.v.element, self.shape.units
        values = ", ".join(f"{element} {one if u < units else zero}" for u in range(self.shape.padded))
        return self.module.table("inside", f"[{self.shape.padded} x {element}]", f"[{values}]")

    def scratch(
        self, writer: StageWriter, arrangement: Arrangement, rows: Integer, ranks: Ranks | None = None
    ) -> tuple[dict[str, tuple[Value, int]], int]:
        """Divide the scratch memory of a group of rows; each rank has its own, but for whole rows of
        units."""
        lanes = self.shape.lanes
        sizes = {
            "sums": writer.sums_width(),
            "partials": writer.partials_width(),
            "scratch": arrangement.scratch * self.shape.padded,
            "scalar": -(-arrangement.scalars // lanes) * lanes,
        }
        shared = mine = self.a["scratch"]
        if ranks:
            mine = self.at(shared, self.f.mul(rows, ranks.rank), sum(sizes.values()))
        bases, before = {}, 0
        for kind, size in sizes.items():
            bases[kind] = (self.at(shared if kind == "scratch" else mine, rows, before), size)
            before += size
        return bases, before

    # ---- parts --------------------------------------------------------------------------------------------

    def project(
        self,
        count: Integer,
        out: Value,
        input_row: Callable[[Integer], Value],
        start_row: Callable[[Integer], Value],
    ) -> None:
        """Write projections: out[i] = start_row(i) + kernel @ input_row(i)."""
        layout, v, f = self.layout, self.v, self.f
        tile = layout.projection_blocks
        wide = tile[1] * v.lanes
        with f.loop(0, layout.projection_row, wide) as loop:
            panel = f.offset(self.a["input_panel"], f.mul(loop.index, self.a["features"]), v.element)
            starts: dict[tuple[str, str], Value] = {}
            walk = Walk(input_row, self.a["features"], panel, [0])

            def start(row: Integer, a: int, b: int) -> Value:
                key = str(row), f.block
                if key not in starts:
                    starts[key] = f.offset(start_row(row), loop.index, v.element)
                return v.load(f.offset(starts[key], b * v.lanes, v.element))

            def finish(row: Integer, a: int, b: int, value: Value) -> None:
                place = f.offset(self.at(out, row, layout.projection_row), loop.index, v.element)
                v.store(value, f.offset(place, b * v.lanes, v.element))

            product(v, count, tile, 1, [walk], start, finish)

    def input_gradient(self, first: Integer, count: Value, position: Callable[[Integer], Value]) -> None:
        """Write the input's gradient for `count` deltas: out[position(first + i)] = sum of kernelᵀ @
        delta."""
        plan, v, f, shape = self.plan, self.v, self.f, self.shape
        terms = [o for o in plan.outers if o.operand.kind == "input"]
        wide = INPUT_BLOCKS * v.lanes
        features = self.a["features"]
        tile = (tile_rows(INPUT_BLOCKS, shape.registers), INPUT_BLOCKS)
        panel_row = len(terms) * shape.units * wide
        with f.loop(0, features, wide) as loop:
            panel = f.offset(
                self.a["input_panel"],
                f.mul(f.emit("i64", f"udiv {loop.index}, {wide}"), panel_row),
                v.element,
            )
            runs = self._runs([o.delta for o in terms])
            walks = []
            for first_term, length in runs:

                def operand(row: Integer, slot: int = terms[first_term].delta) -> Value:
                    return f.offset(
                        self.at(self.a["deltas"], row, self.layout.delta_row), slot * shape.padded, v.element
                    )

                begin = f.offset(panel, first_term * shape.units * wide, v.element)
                walks.append(Walk(operand, length * shape.units, begin, [0]))
            left = f.sub(features, loop.index)

            def finish(row: Integer, a: int, b: int, value: Value) -> None:
                place = position(f.add(first, row))
                out = f.offset(self.a["inputs_gradient"], f.mul(place, features), v.element)
                at = f.offset(f.offset(out, loop.index, v.element), b * v.lanes, v.element)
                store_some(v, value, at, f.sub(left, b * v.lanes))

            product(v, count, tile, 1, walks, lambda row, a, b: v.constant(0.0), finish)

    def _runs(self, slots: list[int]) -> list[tuple[int, int]]:
        """Cut slots where they stop lying side by side: (first, how many)."""
        runs: list[tuple[int, int]] = []
        for k, slot in enumerate(slots):
            if runs and slot == slots[k - 1] + 1 and self.shape.units == self.shape.padded:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((k, 1))
        return runs

    def kernel_gradient(self, first: Integer, count: Value, delta_row: int, array: str = "source") -> None:
        """Add up the gradients of the input's kernels, [features][input deltas][padded units], of inputs that
        an index array lists."""
        slots = self.plan.input_deltas
        if slots:
            outer(
                self.v,
                self.shape.registers,
                count,
                lambda n: self.input_row(self.f.add(first, n), array),
                self.a["features"],
                lambda n: self.at(self.a["deltas"], n, delta_row),
                slots * self.shape.blocks,
                self.a["kernel_gradients"],
                slots * self.shape.padded,
                self.packed(),
            )

    def packed(self) -> Value | None:
        """Where sums of outer products pack deltas, None where they lie close enough."""
        return self.a["packed"] if self.layout.packed_size else None
