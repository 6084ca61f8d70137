"""The kernels of a plan: projection, the way forward (with and without keeping), the way back, the input's
gradient.

Every kernel takes one argument: the address of a block of 64-bit words, whose order the `*_WORDS` below name.
A kernel works on a group of rows from its first timestep to its last, alone: threads take groups, nothing
waits in between. A row may join later than row 0, from whose states it then
begins. Timesteps go in chunks, so that projections and deltas stay in the cache."""

from __future__ import annotations

from collections.abc import Callable

from .._plan import Arrangement
from ._layout import Kernel, Layout, OuterGroup
from ._stage import Frame, StageWriter
from ._team import TEAM_WORDS, Team
from ._text import Integer, Value
from ._tiles import column_sums, copy_row, outer
from ._writer import Writer

COMMON_WORDS = (
    "steps",
    "rows",
    "chunk",
    "offsets",
    "slots",
    "waiting",
    "source",
    "target",
    "dense",
    "inputs",
    "features",
    "panels",
    "vectors",
    "states",
    "kept",
    "scratch",
    "row_inputs",
    "step_inputs",
)
FORWARD_WORDS = (*COMMON_WORDS, "ring", "projection", "input_panel", "input_bias", "outputs")
BACKWARD_WORDS = (
    *COMMON_WORDS,
    "previous",
    "cotangents",
    "output_gradient",
    "deltas",
    "packed",
    "operands",
    "input_panel",
    "inputs_gradient",
    "table_gradient",
    "kernel_gradients",
    "recurrent_gradients",
    "column_gradients",
    "vector_gradients",
)
PROJECT_WORDS = ("inputs", "features", "source", "found", "input_panel", "input_bias", "projection")
TABLE_WORDS = (
    "inputs",
    "features",
    "source",
    "target",
    "found",
    "deltas",
    "packed",
    "input_panel",
    "inputs_gradient",
    "kernel_gradients",
)
STREAM_WORDS = (
    "features",
    "inputs",
    "panels",
    "vectors",
    "before",
    "after",
    "scratch",
    "input_panel",
    "input_bias",
    "projection",
    "outputs",
)


def project_kernel(layout: Layout) -> Kernel:
    """The projection of rows of a table; `found` holds how many."""
    w = Writer(layout, "project", PROJECT_WORDS)
    w.project(w.index("found", 0), w.w["projection"], w.input_row)
    return w.finish()


def table_kernel(layout: Layout) -> Kernel:
    """From the gradients of a table's projections to those of its rows and of the kernels."""
    w = Writer(layout, "table", TABLE_WORDS)
    count = w.index("found", 0)
    with w.f.when(w.f.emit("i1", f"icmp ne {w.w['inputs_gradient']}, null")):
        w.input_gradient(0, count)
    w.kernel_gradient(0, count, layout.delta_row)
    return w.finish()


def forward_kernel(layout: Layout, *, training: bool) -> Kernel:
    """The way forward; `training` keeps what the way back needs."""
    if training:
        return _forward(Writer(layout, "train", FORWARD_WORDS), layout.plan.training)
    return _forward(Writer(layout, "infer", FORWARD_WORDS), layout.plan.inference)


def team_kernel(layout: Layout) -> Kernel:
    """The way forward of few rows by several threads, each with a part of the units; nothing is kept."""
    w = Writer(layout, "team", (*FORWARD_WORDS, *TEAM_WORDS))
    return _forward(w, layout.plan.inference, Team(w.f, *(w.w[word] for word in TEAM_WORDS)))


def _forward(w: Writer, arrangement: Arrangement, team: Team | None = None) -> Kernel:
    layout, plan, f, v = w.layout, w.plan, w.f, w.v
    writer = StageWriter(v, arrangement, layout.shape, team)
    bases, scratch = _scratch(w, writer, arrangement, w.w["rows"], team)
    inside = w.inside()
    with f.loop(0, w.w["steps"], w.w["chunk"]) as chunk:
        end = f.minimum(f.add(chunk.index, w.w["chunk"]), w.w["steps"])
        first, last = w.index("offsets", chunk.index), w.index("offsets", end)
        dense = f.compare("ne", w.w["dense"], 0)
        if plan.projections:
            with f.when(dense):
                begin, count = f.integer(0), f.sub(last, first)
                if team:
                    begin, stop = team.part(count)
                    count = f.sub(stop, begin)
                target, begin = w.at(w.w["projection"], begin, layout.projection_row), f.add(first, begin)
                w.project(count, target, lambda row: w.input_row(f.add(begin, row)))
                if team:
                    team.meet()
        with f.loop(chunk.index, end) as step:
            n = w.index("offsets", step.index)
            rows = f.sub(w.index("offsets", f.add(step.index, 1)), n)
            ring = f.compare("ne", w.w["ring"], 0)
            odd = f.emit("i64", f"and {step.index}, 1")
            before, after = w.index("slots", step.index), w.index("slots", f.add(step.index, 1))
            before = f.select(ring, f.mul(odd, w.w["rows"]), before)
            after = f.select(ring, f.mul(f.sub(1, odd), w.w["rows"]), after)

            def projection_row(row: Integer, n: Value = n) -> Value:
                m = f.add(n, row)
                return w.at(
                    w.w["projection"],
                    f.select(dense, f.sub(m, first), w.index("source", m)),
                    layout.projection_row,
                )

            here = bases | {
                "state": (w.at(w.w["states"], before, layout.state_row), layout.state_row),
                "new": (w.at(w.w["states"], after, layout.state_row), layout.state_row),
                **_kept(w, n),
                "vector": (w.w["vectors"], 0),
                "inside": (inside, 0),
                **_extras(w, n),
            }
            frame = Frame(rows, here, w.w["panels"], projection_row)
            writer.write(frame)
            new = here["new"][0]
            following = f.minimum(f.add(step.index, 2), w.w["steps"])
            joining = f.sub(w.index("offsets", following), w.index("offsets", f.add(step.index, 1)))
            with f.loop(rows, joining) as row:
                copy_row(v, new, w.at(new, row.index, layout.state_row), layout.state_row, accumulate=False)
            wanted = f.emit("i1", f"icmp ne {w.w['outputs']}, null")
            if team:  # its first member writes for all
                wanted = f.emit("i1", f"and {wanted}, {f.compare('eq', team.member, 0).name}")
            with f.when(wanted):
                with f.loop(0, rows) as row:
                    target = w.at(w.w["outputs"], w.index("target", f.add(n, row.index)), layout.shape.units)
                    source = w.at(new, row.index, layout.state_row)
                    copy_row(v, source, target, layout.shape.units, accumulate=False)
                _wait(w, step.index, rows, "outputs", new, keep=False)
    return w.finish(writer.panels, writer.panel_size, scratch)


def stream_kernel(layout: Layout, rows: int) -> Kernel:
    """One timestep of a fixed number of rows; it swaps the words `before` and `after`, so that the next call
    goes on."""
    w = Writer(layout, "step", STREAM_WORDS)
    f, v, plan = w.f, w.v, layout.plan
    writer = StageWriter(v, plan.inference, layout.shape)
    bases, scratch = _scratch(w, writer, plan.inference, rows)
    if plan.projections:
        features = w.w["features"]
        w.project(
            rows, w.w["projection"], lambda row: f.offset(w.w["inputs"], f.mul(row, features), v.element)
        )
    here = bases | {
        "state": (w.w["before"], layout.state_row),
        "new": (w.w["after"], layout.state_row),
        "vector": (w.w["vectors"], 0),
        "inside": (w.inside(), 0),
    }
    writer.write(
        Frame(rows, here, w.w["panels"], lambda row: w.at(w.w["projection"], row, layout.projection_row))
    )
    with f.loop(0, rows) as row:
        target = w.at(w.w["outputs"], row.index, layout.shape.units)
        copy_row(
            v, w.at(w.w["after"], row.index, layout.state_row), target, layout.shape.units, accumulate=False
        )
    for word, other in (("before", "after"), ("after", "before")):
        f.store(w.w[other], f.offset(f.arguments[0], STREAM_WORDS.index(word), "i64"), 8)
    return w.finish(writer.panels, writer.panel_size, scratch * rows)


def backward_kernel(layout: Layout) -> Kernel:
    """The way back, with every gradient summed as it goes."""
    plan, shape = layout.plan, layout.shape
    w = Writer(layout, "back", BACKWARD_WORDS)
    f, v = w.f, w.v
    writer = StageWriter(v, plan.backward, shape)
    bases, scratch = _scratch(w, writer, plan.backward, w.w["rows"])
    inside = w.inside()
    chunks = f.emit("i64", f"udiv {f.sub(f.add(w.w['steps'], w.w['chunk']), 1)}, {w.w['chunk'].name}")
    with f.loop(f.sub(chunks, 1), -1, -1) as chunk:
        begin = f.mul(chunk.index, w.w["chunk"])
        end = f.minimum(f.add(begin, w.w["chunk"]), w.w["steps"])
        first, last = w.index("offsets", begin), w.index("offsets", end)
        with f.loop(f.sub(end, 1), f.sub(begin, 1), -1) as step:
            n = w.index("offsets", step.index)
            rows = f.sub(w.index("offsets", f.add(step.index, 1)), n)
            odd = f.emit("i64", f"and {step.index}, 1")
            arriving = w.at(w.w["cotangents"], f.mul(f.sub(1, odd), w.w["rows"]), layout.state_row)
            passed = w.at(w.w["cotangents"], f.mul(odd, w.w["rows"]), layout.state_row)
            with f.when(f.emit("i1", f"icmp ne {w.w['output_gradient']}, null")):
                with f.loop(0, rows) as row:
                    place = w.index("target", f.add(n, row.index))
                    source = w.at(w.w["output_gradient"], place, shape.units)
                    copy_row(
                        v, source, w.at(arriving, row.index, layout.state_row), shape.units, accumulate=True
                    )
                _wait(w, step.index, rows, "output_gradient", arriving, keep=True)
            before, after = w.index("slots", step.index), w.index("slots", f.add(step.index, 1))
            here = bases | {
                "state": (w.at(w.w["states"], before, layout.state_row), layout.state_row),
                "new": (w.at(w.w["states"], after, layout.state_row), layout.state_row),
                **_kept(w, n),
                "cotangent": (arriving, layout.state_row),
                "passed": (passed, layout.state_row),
                "delta": (w.at(w.w["deltas"], f.sub(n, first), layout.delta_row), layout.delta_row),
                "operand": (w.at(w.w["operands"], f.sub(n, first), layout.operand_row), layout.operand_row),
                "vector": (w.w["vectors"], 0),
                "vector_gradient": (w.w["vector_gradients"], 0),
                "inside": (inside, 0),
                **_extras(w, n),
            }
            writer.write(Frame(rows, here, w.w["panels"]))
            # what the rows that joined here would pass on goes to row 0, whose states they took
            earlier = f.select(f.compare("eq", step.index, 0), step.index, f.sub(step.index, 1))
            joined = f.sub(w.index("offsets", f.add(earlier, 1)), w.index("offsets", earlier))
            with f.loop(joined, rows) as row:
                copy_row(
                    v, w.at(passed, row.index, layout.state_row), passed, layout.state_row, accumulate=True
                )
        _gradients(w, first, f.sub(last, first))
    return w.finish(writer.panels, writer.panel_size, scratch)


def _wait(w: Writer, step: Value, rows: Value, word: str, state: Value, *, keep: bool) -> None:
    """Between row 0 and the rows that have not joined it yet: its output is theirs, their gradients are
    its."""
    f, v, units = w.f, w.v, w.shape.units
    with f.when(f.emit("i1", f"icmp ne {w.w['waiting']}, null")), f.loop(rows, w.w["rows"]) as row:
        place = w.index("waiting", f.add(f.mul(row.index, w.w["steps"]), step))
        theirs = w.at(w.w[word], place, units)
        source, target = (theirs, state) if keep else (state, theirs)
        copy_row(v, source, target, units, accumulate=keep)


def _kept(w: Writer, n: Value) -> dict[str, tuple[Value, int]]:
    layout = w.layout
    base = w.at(w.w["kept"], n, layout.kept_row)
    numbers = w.f.offset(base, w.plan.residual_units * w.shape.padded, w.v.element)
    return {"residual": (base, layout.kept_row), "residual_scalar": (numbers, layout.kept_row)}


def _extras(w: Writer, n: Value) -> dict[str, tuple[Value, int]]:
    a_row, a_step = len(w.plan.row_inputs) * w.shape.padded, len(w.plan.step_inputs) * w.shape.padded
    return {
        "row_input": (w.w["row_inputs"], a_row),
        "step_input": (w.at(w.w["step_inputs"], n, a_step), a_step),
    }


def _scratch(
    w: Writer, writer: StageWriter, arrangement: Arrangement, rows: Integer, team: Team | None = None
) -> tuple[dict[str, tuple[Value, int]], int]:
    """Divide the scratch memory of a group of rows; each member of a team has its own but for whole units."""
    lanes = w.shape.lanes
    sizes = {
        "sums": writer.sums_width(),
        "partials": writer.partials_width(),
        "scratch": arrangement.scratch * w.shape.padded,
        "scalar": -(-arrangement.scalars // lanes) * lanes,
    }
    shared = mine = w.w["scratch"]
    if team:
        mine = w.at(shared, w.f.mul(rows, team.member), sum(sizes.values()))
    bases, before = {}, 0
    for kind, size in sizes.items():
        bases[kind] = (w.at(shared if kind == "scratch" else mine, rows, before), size)
        before += size
    return bases, before


def _gradients(w: Writer, first: Value, count: Value) -> None:
    """What remains of a chunk's deltas: the sums into the parameters' gradients, and the input's gradient."""
    layout, plan, f, v, shape = w.layout, w.plan, w.f, w.v, w.shape

    def deltas(slot: int, n: Value) -> Value:
        return f.offset(w.at(w.w["deltas"], n, layout.delta_row), slot * shape.padded, v.element)

    for g in layout.recurrent_groups:

        def operand(n: Value, g: OuterGroup = g) -> Value:
            if g.operand == "operand":
                row = w.at(w.w["operands"], n, layout.operand_row)
            elif g.operand == "residual":
                row = w.at(w.w["kept"], f.add(first, n), layout.kept_row)
            else:
                row = w.at(w.w["states"], w.index("previous", f.add(first, n)), layout.state_row)
            return f.offset(row, g.operand_slot * shape.padded, v.element)

        outer(
            v,
            shape.registers,
            count,
            operand,
            shape.units,
            lambda n, g=g: deltas(g.first_delta, n),  # type: ignore[misc]
            g.slots * shape.blocks,
            f.offset(w.w["recurrent_gradients"], g.offset, v.element),
            g.slots * shape.padded,
            w.packed(),
        )
    for k, (_, slot) in enumerate(plan.column_sums):
        place = f.offset(w.w["column_gradients"], k * shape.padded, v.element)
        column_sums(v, count, lambda n, slot=slot: deltas(slot, n), shape.blocks, place)  # type: ignore[misc]
    if not plan.input_deltas:
        return
    dense = f.compare("ne", w.w["dense"], 0)
    with f.when(dense):
        w.kernel_gradient(first, count, layout.delta_row)
        with f.when(f.emit("i1", f"icmp ne {w.w['inputs_gradient']}, null")):
            w.input_gradient(first, count)
    with f.when(f.compare("eq", w.w["dense"], 0)), f.loop(0, count) as row:
        place = w.at(w.w["table_gradient"], w.index("source", f.add(first, row.index)), layout.delta_row)
        copy_row(v, deltas(0, row.index), place, plan.input_deltas * shape.padded, accumulate=True)


KERNELS: dict[str, Callable[[Layout], Kernel]] = {
    "infer": lambda layout: forward_kernel(layout, training=False),
    "train": lambda layout: forward_kernel(layout, training=True),
    "team": team_kernel,
    "back": backward_kernel,
    "project": project_kernel,
    "table": table_kernel,
    "step": lambda layout: stream_kernel(layout, 1),
}
"""The kernels by name; "step" takes one row."""
