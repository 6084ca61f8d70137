"""The kernels of a stream: one timestep of one row, or of chosen rows of a table of states."""

from __future__ import annotations

from collections.abc import Callable

from ._frame import Frame
from ._layout import Kernel, Layout
from ._signature import HOIST, ROWS, STEP_INPUTS, STREAM
from ._stage import StageWriter
from ._text import Integer, Value
from ._tiles import copy_row
from ._writer import Writer


def hoist_kernel(layout: Layout) -> Kernel:
    """Compute what is made of parameters alone, once for all timesteps of a stream."""
    w = Writer(layout, "hoist", HOIST)
    scratch = 0
    if layout.plan.hoisting is not None:
        writer = StageWriter(w.v, layout.plan.hoisting, layout.sizes)
        bases, scratch = w.scratch(writer, 1)
        here = bases | {"vector": (w.a["vectors"], 0), "hoisted": _hoisted(w)}
        writer.write(Frame(1, here, w.a["vectors"], w.inside()))  # it has no products, and so no panels
    return w.finish(scratch=scratch)


def _hoisted(w: Writer) -> tuple[Value, int]:
    """Where what is made of parameters alone lies: behind them, the same for all rows."""
    return w.f.offset(w.a["vectors"], w.layout.forward.row("vector"), w.v.element), 0


def stream_kernel(layout: Layout) -> Kernel:
    """One timestep of one row; it swaps the arguments `before` and `after`, so that the next call goes on."""
    w = Writer(layout, "step", STREAM | (STEP_INPUTS if layout.step_input_row else {}))
    f = w.f
    writer = StageWriter(w.v, layout.plan.inference, layout.sizes)
    scratch = _step(w, writer, 1, 1, lambda row: w.at(w.a["inputs"], row, w.a["features"]), 0)
    w.copy_output(w.a["after"], w.a["outputs"])
    for argument, other in (("before", "after"), ("after", "before")):
        f.store(w.a[other], f.offset(f.arguments[0], list(STREAM).index(argument), "i64"), 8)
    return w.finish(writer.panels, writer.panel_size, scratch)


def rows_kernel(layout: Layout) -> Kernel:
    """One timestep of `count` rows of a table of states, those that `slots` lists; inputs and outputs lie in
    that order. A task takes its part of the blocks of `block` rows: their states go to `before`, on to
    `after`, and back. Where a block begins depends on its number alone, so that every number of tasks gives
    the same bits."""
    w = Writer(layout, "rows", ROWS | (STEP_INPUTS if layout.step_input_row else {}))
    f, v = w.f, w.v
    size, used, units = layout.state_row, layout.states_width, layout.output
    count, block = w.a["count"], w.a["block"]
    writer = StageWriter(v, layout.plan.inference, layout.sizes)
    blocks = f.emit("i64", f"udiv {f.sub(f.add(count, block), 1)}, {block.name}")
    first, last = (
        f.emit("i64", f"udiv {f.mul(blocks, part)}, {w.a['parts'].name}")
        for part in (w.a["part"], f.add(w.a["part"], 1))
    )
    scratch = 0
    with f.loop(first, last) as loop:
        begin = f.mul(loop.index, block)
        rows = f.minimum(f.sub(count, begin), block)

        def state(row: Value, begin: Value = begin) -> Value:
            return w.at(w.a["states"], w.index("slots", f.add(begin, row)), size)

        with f.loop(0, rows) as row:
            copy_row(v, state(row.index), w.at(w.a["before"], row.index, size), used, accumulate=False)

        def input_row(row: Integer, begin: Value = begin) -> Value:
            return w.at(w.a["inputs"], f.add(begin, row), w.a["features"])

        scratch = _step(w, writer, rows, block, input_row, begin)
        with f.loop(0, rows) as row:
            after = w.at(w.a["after"], row.index, size)
            copy_row(v, after, state(row.index), used, accumulate=False)
            output = f.offset(w.a["outputs"], f.mul(f.add(begin, row.index), units), v.element)
            w.copy_output(after, output)
    return w.finish(writer.panels, writer.panel_size, scratch)


def _step(
    w: Writer,
    writer: StageWriter,
    rows: Integer,
    most: Integer,
    input_row: Callable[[Integer], Value],
    first: Integer,
) -> int:
    """Write one timestep of `rows` rows, at most `most`, from `before` to `after`; the inputs with a name are
    those from the `first` row on. Return the elements of scratch memory that a row needs."""
    layout, plan = w.layout, w.layout.plan
    bases, scratch = w.scratch(writer, most)
    if plan.projections:
        w.project(rows, w.a["projection"], input_row, lambda row: w.a["input_bias"])
    here = bases | {
        "state": (w.a["before"], layout.state_row),
        "new": (w.a["after"], layout.state_row),
        "vector": (w.a["vectors"], 0),
    }
    if layout.hoisted_row:
        here["hoisted"] = _hoisted(w)
    if layout.step_input_row:
        row = layout.step_input_row
        here["named_input"] = (w.at(w.a["step_inputs"], first, row), row)
    frame = Frame(
        rows, here, w.a["panels"], w.inside(),
        lambda row: w.at(w.a["projection"], row, layout.projection_row),
    )  # fmt: skip
    writer.write(frame)
    return scratch
