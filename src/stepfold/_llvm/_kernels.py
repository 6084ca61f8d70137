"""The kernels of a plan: projection, forward (with and without residuals), backward, the input's gradient.

A kernel runs a group of rows from its first timestep to its last, alone: threads take groups, nothing waits
in between. Rows that share a prefix start later than row 0, from its states. Timesteps go in chunks, so that
projections and deltas stay in the cache. `_signature` says what the arguments are called."""

from __future__ import annotations

from collections.abc import Callable

from .._plan import Arrangement, Place
from ._cooperative import Ranks
from ._frame import Frame
from ._layout import Kernel, Layout, OuterGroup
from ._matrices import matrices_read
from ._prefetch import Prefetch
from ._signature import BACKWARD, COOPERATIVE, FORWARD, PROJECT, TABLE, named_gradients
from ._stage import StageWriter
from ._stream_kernels import hoist_kernel, rows_kernel, stream_kernel
from ._text import Integer, Value
from ._tiles import column_sums, copy_row, outer
from ._writer import Writer


def project_kernel(layout: Layout) -> Kernel:
    """The projection of rows of a table; `distinct_count` holds how many."""
    w = Writer(layout, "project", PROJECT)
    w.project(w.index("distinct_count", 0), w.a["projection"], w.input_row, lambda row: w.a["input_bias"])
    return w.finish()


def table_kernel(layout: Layout) -> Kernel:
    """From the gradients of a table's projections to those of its rows and of the kernels."""
    w = Writer(layout, "table", TABLE)
    count = w.index("distinct_count", 0)
    with w.f.when(w.f.emit("i1", f"icmp ne {w.a['inputs_gradient']}, null")):
        w.input_gradient(0, count, w.f.integer)
    w.kernel_gradient(0, count, layout.delta_row)
    return w.finish()


def forward_kernel(layout: Layout, *, training: bool) -> Kernel:
    """The forward pass; `training` writes the residuals."""
    if training:
        return _forward(Writer(layout, "train", FORWARD), layout.plan.training)
    return _forward(Writer(layout, "infer", FORWARD), layout.plan.inference)


def cooperative_kernel(layout: Layout) -> Kernel:
    """The forward pass of few rows by several threads, each with a part of the units; no residuals."""
    w = Writer(layout, "cooperative", COOPERATIVE)
    return _forward(
        w, layout.plan.inference, Ranks(w.f, w.a["rank"], w.a["ranks"], w.a["barrier"], layout.architecture)
    )


def _forward(w: Writer, arrangement: Arrangement, ranks: Ranks | None = None) -> Kernel:
    layout, plan, f, v = w.layout, w.plan, w.f, w.v
    writer, hoisting = StageWriter(v, arrangement, layout.sizes, ranks), w.beside(plan.hoisting)
    prefetch = Prefetch(v, write=True) if plan.has_matrices and arrangement is plan.training else None
    bases, scratch = w.scratch(writer, w.a["rows"], ranks)
    inside = w.inside()
    w.once(hoisting, bases, inside)
    with f.loop(0, w.a["steps"], w.a["chunk"]) as chunk:
        end = f.minimum(f.add(chunk.index, w.a["chunk"]), w.a["steps"])
        first, last = w.index("offsets", chunk.index), w.index("offsets", end)
        dense = f.compare("ne", w.a["dense"], 0)
        if plan.projections:
            with f.when(dense):
                begin, count = f.integer(0), f.sub(last, first)
                if ranks:
                    begin, stop = ranks.part(count)
                    count = f.sub(stop, begin)
                target, begin = w.at(w.a["projection"], begin, layout.projection_row), f.add(first, begin)

                def start_row(row: Integer, begin: Value = begin) -> Value:
                    return f.offset(
                        w.a["starts"],
                        f.mul(w.index("source", f.add(begin, row)), w.a["start_row"]),
                        v.element,
                    )

                def input_row(row: Integer, begin: Value = begin) -> Value:
                    return w.input_row(f.add(begin, row), "target")

                if prefetch is not None:  # of what this chunk writes
                    prefetch.begin(
                        w.range("residuals", first, count, layout.residual_row),
                        w.range("states", w.index("slots", f.add(chunk.index, 1)), count, layout.state_row),
                    )
                w.project(count, target, input_row, start_row, prefetch)
                if ranks:
                    ranks.wait()
        with f.loop(chunk.index, end) as step:
            n = w.index("offsets", step.index)
            rows = f.sub(w.index("offsets", f.add(step.index, 1)), n)
            ring = f.compare("ne", w.a["ring"], 0)
            odd = f.emit("i64", f"and {step.index}, 1")
            before, after = w.index("slots", step.index), w.index("slots", f.add(step.index, 1))
            if plan.infers_in_place:
                before, after = (f.select(ring, f.integer(0), slot) for slot in (before, after))
            else:
                before = f.select(ring, f.mul(odd, w.a["rows"]), before)
                after = f.select(ring, f.mul(f.sub(1, odd), w.a["rows"]), after)

            def projection_row(row: Integer, n: Value = n) -> Value:
                m = f.add(n, row)
                return w.at(
                    w.a["projection"],
                    f.select(dense, f.sub(m, first), w.index("source", m)),
                    layout.projection_row,
                )

            here = bases | {
                "state": (w.at(w.a["states"], before, layout.state_row), layout.state_row),
                "new": (w.at(w.a["states"], after, layout.state_row), layout.state_row),
                **_residuals(w, n),
                "vector": (w.a["vectors"], 0),
                **_extras(w, n),
            }
            frame = Frame(rows, here, w.a["panels"], inside, projection_row)
            writer.write(frame)
            new = here["new"][0]
            following = f.minimum(f.add(step.index, 2), w.a["steps"])
            joining = f.sub(w.index("offsets", following), w.index("offsets", f.add(step.index, 1)))
            with f.loop(rows, joining) as row:
                copy_row(v, new, w.at(new, row.index, layout.state_row), layout.state_row, accumulate=False)
            wanted = f.emit("i1", f"icmp ne {w.a['outputs']}, null")
            if ranks:  # the first rank writes for all
                wanted = f.emit("i1", f"and {wanted}, {f.compare('eq', ranks.rank, 0).name}")
            with f.when(wanted):
                with f.loop(0, rows) as row:
                    target = w.at(w.a["outputs"], w.index("target", f.add(n, row.index)), layout.output)
                    source = w.at(new, row.index, layout.state_row)
                    w.copy_output(source, target)
                _pending(w, step.index, rows, "outputs", new, accumulate=False)
    return w.finish(writer.panels, writer.panel_size, scratch)


def backward_kernel(layout: Layout) -> Kernel:
    """The backward pass, with every gradient summed as it goes."""
    w = Writer(layout, "backward", BACKWARD | named_gradients(len(layout.plan.input_gradients)))
    f, v, plan = w.f, w.v, layout.plan
    writer = StageWriter(v, layout.plan.backward, layout.sizes)
    before, after = w.beside(layout.plan.backward_hoisting), w.beside(layout.plan.hoisted_gradients)
    prefetch = Prefetch(v) if plan.has_matrices else None
    bases, scratch = w.scratch(writer, w.a["rows"])
    inside = w.inside()
    w.once(before, bases, inside)
    chunks = f.emit("i64", f"udiv {f.sub(f.add(w.a['steps'], w.a['chunk']), 1)}, {w.a['chunk'].name}")
    with f.loop(f.sub(chunks, 1), -1, -1) as chunk:
        begin = f.mul(chunk.index, w.a["chunk"])
        end = f.minimum(f.add(begin, w.a["chunk"]), w.a["steps"])
        first, last = w.index("offsets", begin), w.index("offsets", end)
        with f.loop(f.sub(end, 1), f.sub(begin, 1), -1) as step:
            n = w.index("offsets", step.index)
            rows = f.sub(w.index("offsets", f.add(step.index, 1)), n)
            arriving = passed = w.a["cotangents"]
            if not plan.passes_in_place:
                odd = f.emit("i64", f"and {step.index}, 1")
                arriving = w.at(w.a["cotangents"], f.mul(f.sub(1, odd), w.a["rows"]), layout.state_row)
                passed = w.at(w.a["cotangents"], f.mul(odd, w.a["rows"]), layout.state_row)
            with f.when(f.emit("i1", f"icmp ne {w.a['output_gradient']}, null")):
                with f.loop(0, rows) as row:
                    place = w.index("target", f.add(n, row.index))
                    source = w.at(w.a["output_gradient"], place, layout.output)
                    w.add_output(source, w.at(arriving, row.index, layout.state_row))
                _pending(w, step.index, rows, "output_gradient", arriving, accumulate=True)
            old, new = w.index("slots", step.index), w.index("slots", f.add(step.index, 1))
            here = bases | {
                "state": (w.at(w.a["states"], old, layout.state_row), layout.state_row),
                "new": (w.at(w.a["states"], new, layout.state_row), layout.state_row),
                **_residuals(w, n),
                "cotangent": (arriving, layout.state_row),
                "passed": (passed, layout.state_row),
                "delta": (w.at(w.a["deltas"], f.sub(n, first), layout.delta_row), layout.delta_row),
                "operand": (w.at(w.a["operands"], f.sub(n, first), layout.operand_row), layout.operand_row),
                "vector": (w.a["vectors"], 0),
                "vector_gradient": (w.a["vector_gradients"], 0),
                **_extras(w, n),
            }
            if layout.input_gradient_row:
                size = layout.input_gradient_row
                here["input_gradient"] = (w.at(w.a["input_gradients"], f.sub(n, first), size), size)
            writer.write(Frame(rows, here, w.a["panels"], inside))
            # what the rows that started here would pass on goes to row 0, whose states they took
            earlier = f.select(f.compare("eq", step.index, 0), step.index, f.sub(step.index, 1))
            joined = f.sub(w.index("offsets", f.add(earlier, 1)), w.index("offsets", earlier))
            with f.loop(joined, rows) as row:
                copy_row(
                    v, w.at(passed, row.index, layout.state_row), passed, layout.state_row, accumulate=True
                )
        if prefetch is not None:
            _prefetch_chunk(w, prefetch, begin, first)
        _gradients(w, first, f.sub(last, first), prefetch)
    w.once(after, bases | {"vector_gradient": (w.a["vector_gradients"], 0)}, inside)
    # what went to the parameters must not go there again with the next group of rows
    hoisted = layout.backward.end("vector_gradient", len(layout.plan.backward.slots["hoisted"]))
    if hoisted:
        with f.loop(0, hoisted, v.lanes) as loop:
            v.store(v.constant(0.0), f.offset(w.a["vector_gradients"], loop.index, v.element))
    return w.finish(writer.panels, writer.panel_size, scratch)


def _pending(w: Writer, step: Value, rows: Value, array: str, state: Value, *, accumulate: bool) -> None:
    """The rows that have not started yet: row 0's output is theirs too, and their gradients belong to it."""
    f, units = w.f, w.layout.output
    with f.when(f.emit("i1", f"icmp ne {w.a['prefix_offsets']}, null")), f.loop(rows, w.a["rows"]) as row:
        begin = f.mul(w.index("row_numbers", row.index), w.a["row_stride"])
        position = f.add(begin, w.index("prefix_offsets", step))
        theirs = w.at(w.a[array], position, units)
        if accumulate:
            w.add_output(theirs, state)
        else:
            w.copy_output(state, theirs)


def _residuals(w: Writer, n: Value) -> dict[str, tuple[Value, int]]:
    layout = w.layout
    base = w.at(w.a["residuals"], n, layout.residual_row)
    scalars = w.f.offset(base, layout.forward.row("residual"), w.v.element)
    return {"residual": (base, layout.residual_row), "residual_scalar": (scalars, layout.residual_row)}


def _extras(w: Writer, n: Value) -> dict[str, tuple[Value, int]]:
    a_row, a_step = w.layout.forward.row("row_input"), w.layout.step_input_row
    base = w.at(w.a["step_inputs"], n, a_step)
    named = w.layout.forward.row("named_input")
    return {
        "row_input": (w.a["row_inputs"], a_row),
        "named_input": (base, a_step),
        "step_input": (w.f.offset(base, named, w.v.element), a_step),
    }


def _prefetch_chunk(w: Writer, prefetch: Prefetch, begin: Value, first: Value) -> None:
    """Begin to ask for what the chunk before the timestep `begin`, whose rows are the `first` and on, is the
    first to read."""
    f, layout = w.f, w.layout
    earlier = f.maximum(f.sub(begin, w.a["chunk"]), 0)
    before = w.index("offsets", earlier)
    kinds = [place.kind for stage in w.plan.backward.stages for place in matrices_read(stage)]
    shift = int("state" not in kinds)  # the states after each timestep are read, those before it are not
    slot, until = (w.index("slots", f.add(step, shift)) for step in (earlier, begin))
    prefetch.begin(
        w.range("residuals", before, f.sub(first, before), layout.residual_row),
        w.range("states", slot, f.sub(until, slot), layout.state_row),
    )


def _gradients(w: Writer, first: Value, count: Value, prefetch: Prefetch | None) -> None:
    """What remains of a chunk's deltas: the sums into the parameters' gradients, and the input's gradient."""
    layout, plan, f, v, lanes = w.layout, w.plan, w.f, w.v, w.sizes.lanes

    def deltas(begin: int, n: Value) -> Value:
        return f.offset(w.at(w.a["deltas"], n, layout.delta_row), begin, v.element)

    for g in layout.recurrent_groups:

        def operand(n: Value, g: OuterGroup = g) -> Value:
            if g.operand.kind == "operand":
                row = w.at(w.a["operands"], n, layout.operand_row)
            elif g.operand.kind == "named_input":
                row = w.at(w.a["step_inputs"], f.add(first, n), layout.step_input_row)
            elif g.operand.kind == "residual":
                row = w.at(w.a["residuals"], f.add(first, n), layout.residual_row)
            else:
                row = w.at(w.a["states"], w.index("previous", f.add(first, n)), layout.state_row)
            return f.offset(row, layout.backward.of(g.operand), v.element)

        outer(
            v,
            w.sizes.registers,
            count,
            operand,
            g.length,
            lambda n, g=g: deltas(g.first, n),  # type: ignore[misc]
            g.width // lanes,
            f.offset(w.a["recurrent_gradients"], g.offset, v.element),
            g.width,
            w.packed(),
            prefetch,
        )
    begin = 0
    for _, slot in plan.column_sums:
        place = f.offset(w.a["column_gradients"], begin, v.element)
        width = w.sizes.width(plan.backward.slots["delta"][slot])
        column_sums(v, count, lambda n, slot=slot: deltas(layout.delta(slot), n), width // lanes, place)  # type: ignore[misc]
        begin += width
    _named_gradients(w, first, count)
    if not plan.input_deltas:
        return
    dense = f.compare("ne", w.a["dense"], 0)
    with f.when(dense):
        w.kernel_gradient(first, count, layout.delta_row, "target", prefetch)
        with f.when(f.emit("i1", f"icmp ne {w.a['inputs_gradient']}, null")):
            w.input_gradient(first, count, lambda n: w.index("target", n), prefetch)
    by_token = f.emit("i1", f"icmp ne {w.a['table_gradient']}, null")
    with f.when(by_token), f.loop(0, count) as row:
        place = w.at(w.a["table_gradient"], w.index("source", f.add(first, row.index)), layout.delta_row)
        copy_row(v, deltas(0, row.index), place, layout.input_deltas, accumulate=True)


def _named_gradients(w: Writer, first: Value, count: Value) -> None:
    """Copy a chunk's gradients of inputs with a name to where the caller wants them."""
    f, layout = w.f, w.layout
    for k, dims in enumerate(w.plan.backward.slots["input_gradient"]):
        target, size = w.a[f"named_gradient{k}"], w.sizes.count(dims)
        begin = layout.backward.of(Place("input_gradient", k))
        with f.when(f.emit("i1", f"icmp ne {target}, null")), f.loop(0, count) as row:
            source = w.at(w.a["input_gradients"], row.index, layout.input_gradient_row)
            place = w.at(target, w.index("target", f.add(first, row.index)), size)
            copy_row(w.v, f.offset(source, begin, w.v.element), place, size, accumulate=False)


KERNELS: dict[str, Callable[[Layout], Kernel]] = {
    "infer": lambda layout: forward_kernel(layout, training=False),
    "train": lambda layout: forward_kernel(layout, training=True),
    "cooperative": cooperative_kernel,
    "backward": backward_kernel,
    "project": project_kernel,
    "table": table_kernel,
    "step": stream_kernel,
    "rows": rows_kernel,
    "hoist": hoist_kernel,
}
"""The kernels by name; of a stream "step" takes one row, "rows" chosen rows of a table of states, and "hoist"
computes before what is made of parameters alone."""
