"""One kernel of a plan being written: its arguments loaded, and the parts that several kernels share."""

from __future__ import annotations

from collections.abc import Callable

from .._plan import Arrangement
from ._cooperative import Ranks
from ._frame import Frame
from ._layout import INPUT_BLOCKS, Kernel, Layout
from ._panels import Panel
from ._prefetch import Prefetch, Range
from ._signature import Signature
from ._stage import StageWriter
from ._text import Function, Integer, Module, Value
from ._tiles import Walk, copy_row, outer, product, store_some, tile_rows
from ._vectors import Vectors

Bases = dict[str, tuple[Value, int]]
"""For each kind of memory the address of row 0, and the distance in elements to the next row."""


class Writer:
    """One kernel being written: its arguments loaded (`a`), vector operations at hand (`v`)."""

    def __init__(self, layout: Layout, name: str, signature: Signature) -> None:
        self.layout, self.plan, self.sizes = layout, layout.plan, layout.sizes
        self.module = Module()
        self.f = Function(self.module, name, [("arguments", "ptr")])
        self.v = Vectors(self.f, layout.bits, layout.sizes.lanes)
        self.name, self.signature = name, signature
        self._beside: list[StageWriter] = []
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

    def range(self, array: str, first: Integer, count: Integer, stride: int) -> Range:
        """So many rows of an array."""
        size = self.f.mul(count, stride * self.v.bits // 8)
        return Range(self.at(self.a[array], first, stride), size)

    def index(self, array: str, n: Integer) -> Value:
        """The n-th element of an index array."""
        return self.f.load("i64", self.f.offset(self.a[array], n, "i64"), 8)

    def input_row(self, n: Integer, array: str = "source") -> Value:
        """The address of the n-th input that an index array lists."""
        return self.f.offset(
            self.a["inputs"], self.f.mul(self.index(array, n), self.a["features"]), self.v.element
        )

    def inside(self) -> dict[str, Value]:
        """For each axis a table that is one for its elements and zero for what pads them."""
        element = self.v.element

        def table(name: str, axis: str) -> Value:
            size, padded = self.sizes.size(axis), self.sizes.padded(axis)
            values = ", ".join(f"{element} {'1.0' if u < size else '0.0'}" for u in range(padded))
            return self.module.table(name, f"[{padded} x {element}]", f"[{values}]")

        axes = [axis for axis, _ in self.sizes.axes]
        return {axis: table(f"inside{k}" if k else "inside", axis) for k, axis in enumerate(axes)}

    def beside(self, arrangement: Arrangement | None) -> StageWriter | None:
        """The writer of what is computed once, not at every timestep, with the same scratch memory; None if
        there is nothing."""
        if arrangement is None:
            return None
        self._beside.append(StageWriter(self.v, arrangement, self.sizes))
        return self._beside[-1]

    def once(self, writer: StageWriter | None, bases: Bases, inside: dict[str, Value]) -> None:
        """Write what is computed once; all of it is the same for all rows."""
        if writer is not None:
            here = bases | {"vector": (self.a["vectors"], 0)}
            panels = self.a.get("panels", Value("null", "ptr"))
            writer.write(Frame(1, here, panels, inside))

    def scratch(self, writer: StageWriter, rows: Integer, ranks: Ranks | None = None) -> tuple[Bases, int]:
        """Divide the scratch memory of a group of rows; each rank has its own, but for whole rows of
        values."""
        writers = [writer, *self._beside]
        sizes = {"hoisted": self.layout.hoisted_row} if self.layout.hoisted_row else {}
        sizes |= {
            "sums": max(each.sums_width() for each in writers),
            "partials": max(each.partials_width() for each in writers),
            "scratch": max(each.offsets.row("scratch") for each in writers),
            "scalar": max(each.offsets.row("scalar") for each in writers),
        }
        shared = mine = self.a["scratch"]
        if ranks:
            mine = self.at(shared, self.f.mul(rows, ranks.rank), sum(sizes.values()))
        bases: Bases = {}
        before = 0
        for kind, size in sizes.items():
            step = 0 if kind == "hoisted" else size  # the same for all rows
            bases[kind] = (self.at(shared if kind == "scratch" else mine, rows, before), step)
            before += size
        return bases, before

    def copy_output(self, state: Value, output: Value) -> None:
        """Copy the first state of a row to an output, in which its elements lie side by side."""
        self._output(state, output, accumulate=False)

    def add_output(self, gradient: Value, cotangent: Value) -> None:
        """Add an output's gradient to the cotangent of the first state of a row."""
        self._output(cotangent, gradient, accumulate=True)

    def _output(self, state: Value, output: Value, *, accumulate: bool) -> None:
        count, width, stride = self.layout.output_pieces

        def piece(state: Value, output: Value) -> None:
            source, target = (output, state) if accumulate else (state, output)
            copy_row(self.v, source, target, width, accumulate=accumulate)

        if count == 1:
            piece(state, output)
            return
        with self.f.loop(0, count) as loop:
            piece(self.at(state, loop.index, stride), self.at(output, loop.index, width))

    # ---- parts --------------------------------------------------------------------------------------------

    def project(
        self,
        count: Integer,
        out: Value,
        input_row: Callable[[Integer], Value],
        start_row: Callable[[Integer], Value],
        prefetch: Prefetch | None = None,
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

            product(v, count, tile, 1, [walk], start, finish, prefetch)

    def input_gradient(
        self,
        first: Integer,
        count: Value,
        position: Callable[[Integer], Value],
        prefetch: Prefetch | None = None,
    ) -> None:
        """Write the input's gradient for `count` deltas: out[position(first + i)] = sum of kernelᵀ @
        delta."""
        v, f, sizes = self.v, self.f, self.sizes
        terms = [o.delta for o in self.plan.outers if o.operand.kind == "input"]
        lengths = [sizes.count(self.plan.backward.slots["delta"][delta]) for delta in terms]
        wide = INPUT_BLOCKS * v.lanes
        features = self.a["features"]
        tile = (tile_rows(INPUT_BLOCKS, sizes.registers), INPUT_BLOCKS)
        panel_row = sum(lengths) * wide
        with f.loop(0, features, wide) as loop:
            panel = f.offset(
                self.a["input_panel"],
                f.mul(f.emit("i64", f"udiv {loop.index}, {wide}"), panel_row),
                v.element,
            )
            walks = []
            for first_term, length in self._runs(terms, lengths):

                def operand(row: Integer, delta: int = terms[first_term]) -> Value:
                    return f.offset(
                        self.at(self.a["deltas"], row, self.layout.delta_row),
                        self.layout.delta(delta),
                        v.element,
                    )

                begin = f.offset(panel, sum(lengths[:first_term]) * wide, v.element)
                walks.append(Walk(operand, length, begin, [0]))
            left = f.sub(features, loop.index)

            def finish(row: Integer, a: int, b: int, value: Value) -> None:
                place = position(f.add(first, row))
                out = f.offset(self.a["inputs_gradient"], f.mul(place, features), v.element)
                at = f.offset(f.offset(out, loop.index, v.element), b * v.lanes, v.element)
                store_some(v, value, at, f.sub(left, b * v.lanes))

            product(v, count, tile, 1, walks, lambda row, a, b: v.constant(0.0), finish, prefetch)

    def _runs(self, deltas: list[int], lengths: list[int]) -> list[tuple[int, int]]:
        """Cut deltas where they stop lying side by side: (first, how many elements)."""
        runs: list[tuple[int, int]] = []
        for k, (delta, length) in enumerate(zip(deltas, lengths, strict=True)):
            if runs and self.layout.delta(deltas[runs[-1][0]]) + runs[-1][1] == self.layout.delta(delta):
                runs[-1] = (runs[-1][0], runs[-1][1] + length)
            else:
                runs.append((k, length))
        return runs

    def kernel_gradient(
        self,
        first: Integer,
        count: Value,
        delta_row: int,
        array: str = "source",
        prefetch: Prefetch | None = None,
    ) -> None:
        """Add up the gradients of the input's kernels, [features][padded input deltas], of inputs that an
        index array lists."""
        width = self.layout.input_deltas
        if width:
            outer(
                self.v,
                self.sizes.registers,
                count,
                lambda n: self.input_row(self.f.add(first, n), array),
                self.a["features"],
                lambda n: self.at(self.a["deltas"], n, delta_row),
                width // self.sizes.lanes,
                self.a["kernel_gradients"],
                width,
                self.packed(),
                prefetch,
            )

    def packed(self) -> Value | None:
        """Where sums of outer products pack deltas, None where they lie close enough."""
        return self.a["packed"] if self.layout.packed_size else None
