"""Kernels of one timestep of a batch, which read the parameters where their owner keeps them.

`saved` holds the rows of the states before, then those of the states after, then the residuals. The backward
kernel writes the rows of `terms`, deltas and operands, and sums no outer products: those of all timesteps of
a loop are one product of matrices, which the caller makes at its end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from .._plan import Place
from ._cooperative import Ranks
from ._frame import Frame
from ._layout import Kernel
from ._signature import COOPERATIVE_TIMESTEP, TIMESTEP, TIMESTEP_BACKWARD
from ._stage import StageWriter
from ._text import Integer, Value
from ._tiles import copy_row, product, store_some, tile_shape
from ._timestep_arrays import INPUT, Arrays, Timestep
from ._unpacked import Projected, Term, begun_from, column_walk, row_products
from ._writer import Writer


def _forward(of: Timestep, *, training: bool = False, cooperative: bool = False) -> Kernel:
    """From the states before to those after; `training` writes the residuals."""
    layout, plan = of.layout, of.layout.plan
    signature = COOPERATIVE_TIMESTEP if cooperative else TIMESTEP
    w = Writer(layout, "timestep", signature)
    f, v = w.f, w.v
    ranks = None
    if cooperative:
        ranks = Ranks(f, w.a["rank"], w.a["ranks"], w.a["barrier"], layout.architecture)
    arrays = Arrays(w, of, ranks)
    arrangement = plan.training if training else plan.inference
    projected = {slot: _projected(w, of, arrays, slot) for slot in range(len(plan.projections))}
    begun = begun_from(arrangement)
    first_of = {slot: each for slot, each in projected.items() if slot in begun}
    writer = StageWriter(v, arrangement, layout.sizes, ranks, arrays.matrices, first_of)
    hoisting = w.beside(plan.hoisting)
    bases, scratch = w.scratch(writer, arrays.rows, ranks)
    inside = w.inside()
    arrays.copy_vectors(plan.vectors)
    w.once(hoisting, bases, inside)
    (before, _), (after, _) = arrays.bases["state"], arrays.bases["new"]
    first = f.compare("eq", ranks.rank, 0) if ranks else Value("true", "i1")
    with f.when(first):
        for s, (begin, pieces) in enumerate(layout.states):
            arrays.load_rows("states", s, before, begin, pieces.width)
    for slot, each in projected.items():
        if slot not in begun:
            _project(w, arrays, ranks, slot, each)
    if ranks:
        ranks.wait()
    frame = Frame(
        arrays.rows, bases | arrays.bases, Value("null", "ptr"), inside,
        lambda row: w.at(w.a["projection"], row, layout.projection_row),
    )  # fmt: skip
    writer.write(frame)
    with f.when(first):
        for s, (begin, pieces) in enumerate(layout.states):
            arrays.store_rows(after, begin, s, pieces.width)
    return w.finish(scratch=scratch)


def _projected(w: Writer, of: Timestep, arrays: Arrays, slot: int) -> Projected:
    """The products and the bias of a projection."""
    f, v, projection = w.f, w.v, w.plan.projections[slot]

    def operand(row: Integer) -> Value:
        return w.at(w.a["inputs"], f.add(arrays.first, row), of.features)

    def bias(at: Value) -> Value:
        parts = [arrays.part_of(name, at) for name in projection.vectors]
        return functools.reduce(v.add, parts, v.constant(0.0))

    return Projected([Term(arrays.matrices[name], operand) for name in projection.kernels], bias)


def _project(w: Writer, arrays: Arrays, ranks: Ranks | None, slot: int, projected: Projected) -> None:
    """Write a projection of the input's rows."""
    f, v, layout = w.f, w.v, w.layout
    begin = layout.forward.of(Place("projection", slot))
    blocks = layout.sizes.blocks(w.plan.projections[slot].dims[0])
    with f.loop(*(ranks.part(blocks) if ranks else (0, blocks))) as loop:
        at = f.mul(loop.index, v.lanes)
        bias = projected.bias(at)

        def finish(row: Integer, value: Value) -> None:
            place = f.offset(w.at(w.a["projection"], row, layout.projection_row), at, v.element)
            v.store(value, f.offset(place, begin, v.element))

        row_products(v, layout.sizes.registers, arrays.rows, at, projected.terms, lambda row: bias, finish)


def _backward(of: Timestep) -> Kernel:
    """From the gradients of the states after to those of the states before and of the input, and to what the
    gradients of parameters are made of."""
    layout, plan = of.layout, of.layout.plan
    w = Writer(layout, "timestep_backward", TIMESTEP_BACKWARD)
    f, v, row = w.f, w.v, layout.state_row
    arrays = Arrays(w, of)
    writer = StageWriter(v, plan.backward, layout.sizes, None, arrays.matrices)
    hoisting, passed_on = w.beside(plan.backward_hoisting), w.beside(plan.hoisted_gradients)
    bases, scratch = w.scratch(writer, arrays.rows)
    inside = w.inside()
    arrays.copy_vectors(plan.backward_vectors)
    w.once(hoisting, bases, inside)
    arriving, passed = w.a["cotangents"], w.at(w.a["cotangents"], arrays.rows, row)
    for s, (begin, pieces) in enumerate(layout.states):
        arrays.load_rows("arriving", s, arriving, begin, pieces.width)
    terms = w.at(w.a["terms"], arrays.first, of.terms_row)
    sums = w.at(w.a["vector_gradients"], w.a["part"], of.vector_row)
    with f.loop(0, of.vector_row, v.lanes) as loop:
        v.store(v.constant(0.0), f.offset(sums, loop.index, v.element))
    here = bases | arrays.bases | {
        "cotangent": (arriving, row),
        "passed": (passed, row),
        "delta": (terms, of.terms_row),
        "operand": (f.offset(terms, layout.delta_row, v.element), of.terms_row),
        "vector_gradient": (sums, 0),
    }  # fmt: skip
    writer.write(Frame(arrays.rows, here, Value("null", "ptr"), inside))
    w.once(passed_on, here, inside)
    wanted = f.emit("i1", f"icmp ne {w.a['results']}, null")
    with f.when(wanted):
        for s, (begin, pieces) in enumerate(layout.states):
            arrays.store_rows(passed, begin, s, pieces.width)
    _copy_operands(w, of, arrays, here)
    with f.when(f.emit("i1", f"icmp ne {w.a['inputs_gradient']}, null")):
        _input_gradient(w, of, arrays, terms)
    return w.finish(scratch=scratch)


def _copy_operands(w: Writer, of: Timestep, arrays: Arrays, bases: Mapping[str, tuple[Value, int]]) -> None:
    """Copy the operands of outer products that lie elsewhere to the rows of `terms`."""
    f, v = w.f, w.v
    terms, step = bases["delta"]
    for place, begin in of.terms.items():
        if place.kind == "operand":
            continue
        with f.loop(0, arrays.rows) as loop:
            if place == INPUT:
                source = w.at(w.a["inputs"], f.add(arrays.first, loop.index), of.features)
            else:
                base, stride = bases[place.kind]
                source = f.offset(w.at(base, loop.index, stride), w.layout.backward.of(place), v.element)
            target = f.offset(w.at(terms, loop.index, step), begin, v.element)
            copy_row(v, source, target, of.operand_width(place), accumulate=False)


def _input_gradient(w: Writer, of: Timestep, arrays: Arrays, terms: Value) -> None:
    """Write the gradient of the input: the sum of kernelᵀ @ delta."""
    f, v, layout, features = w.f, w.v, w.layout, of.features
    tile = tile_shape(1, -(-features // v.lanes), layout.sizes.registers)
    blocks = tile[1]
    with f.loop(0, features, blocks * v.lanes) as loop:
        walks = []
        for outer in layout.plan.outers:
            if outer.operand == INPUT:

                def operand(row: Integer, delta: int = outer.delta) -> Value:
                    return f.offset(w.at(terms, row, of.terms_row), layout.delta(delta), v.element)

                matrix = arrays.matrices[outer.matrix]
                walks.append(column_walk(v, operand, [matrix], [0], loop.index, blocks))

        def finish(row: Value | int, a: int, b: int, value: Value) -> None:
            line = w.at(w.a["inputs_gradient"], f.add(arrays.first, row), features)
            at = f.add(loop.index, b * v.lanes)
            target = f.offset(line, at, v.element)
            if features % v.lanes:
                store_some(v, value, target, f.sub(features, at))
            else:
                v.store(value, target)

        product(v, arrays.rows, tile, 1, walks, lambda row, a, b: v.constant(0.0), finish)


TIMESTEP_KERNELS: dict[str, Callable[[Timestep], Kernel]] = {
    "timestep": _forward,
    "timestep_train": functools.partial(_forward, training=True),
    "timestep_cooperative": functools.partial(_forward, cooperative=True),
    "timestep_backward": _backward,
}
"""The kernels of one timestep by name."""
