"""The way back of a batch: gradients summed a thread, then over threads, and taken out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Call, chain, clearing, run_jobs
from ._engine import Engine
from ._groups import Batch, Group
from ._lists import add_rows
from ._masked import blank_call, gather_call
from ._memory import Address, Space
from ._pack import CONSTANTS, backward_moves, backward_room, constants, gradient_moves, sums_of

Array = NDArray[Any]


def backward(
    engine: Engine,
    batch: Batch,
    inputs: Array,
    params: Mapping[str, Array],
    kept: Array,
    *,
    extra: Mapping[tuple[str, str], Array] | None,
    output_gradient: Array | None,
    last_gradient: Sequence[Array | None] | None,
    inputs_gradient: Array | None,
    params_gradient: Mapping[str, Array],
    initial_gradient: Sequence[Array | None] | None,
    threads: int | None,
) -> None:
    """Carry gradients back; see `Recurrence.backward`."""
    layout, schedule, features = engine.layout, batch.schedule, inputs.shape[-1]
    compiled = engine.kernel("back")
    count = engine.threads(int(schedule.counts.sum()), schedule.batch, threads)
    parts = batch.groups(int(kept[-1]))
    with_tokens = batch.tokens is not None and bool(engine.plan.input_deltas)
    if inputs_gradient is not None and not engine.plan.input_deltas:
        inputs_gradient[...] = 0
    with engine.space() as space:
        arriving, to_initial = output_gradient, None
        if output_gradient is not None and not schedule.whole:
            arriving = space.take("gathered", output_gradient.size)
            to_initial = np.empty((schedule.batch, engine.units), engine.dtype)
        room = backward_room(layout, compiled.kernel, features, space)
        lay_out = functools.partial(backward_moves, layout, compiled.kernel, features, params, room)
        engine.moves.make(("back", features), params, room, lay_out, count)
        common: dict[str, Any] = {
            "inputs": inputs,
            "features": features,
            **room,
            "output_gradient": 0 if arriving is None else arriving,
            "inputs_gradient": 0 if inputs_gradient is None else inputs_gradient,
            "table_gradient": 0,
        }
        common = {word: Address(w) if isinstance(w, np.ndarray) else w for word, w in common.items()}
        places = sums_of(layout, features)
        size = max(place.stop for place in places.values())
        sums = {f"sums {k}": space.take(f"sums {k}", size)[:size] for k in range(count)}
        words_of_sums = [
            {word: Address(mine[place]) for word, place in places.items()} for mine in sums.values()
        ]
        calls = [[clearing(mine)] for mine in sums.values()]
        if with_tokens and inputs_gradient is not None:
            flat = inputs_gradient.reshape(-1)
            for k, mine in enumerate(calls):
                mine.append(clearing(flat[k * len(flat) // count : (k + 1) * len(flat) // count]))
        cotangents, tables = [], []
        for k, group in enumerate(parts):
            rows, lists, mine = len(group.rows), group.lists, calls[k % count]
            chunk = layout.chunk(rows)
            states, keep = engine.places(kept, parts, group)
            carried = _carried(engine, group, last_gradient)
            cotangents.append(carried)
            words = {
                "dense": 1,
                "chunk": chunk,
                "states": states,
                "kept": keep,
                "scratch": space.take(f"scratch{k}", rows * compiled.kernel.scratch),
                "cotangents": carried,
                "deltas": space.take(f"deltas{k}", chunk * rows * layout.delta_row),
                "packed": space.take(f"packed{k % count}", layout.packed_size),
                "operands": space.take(f"operands{k}", chunk * rows * layout.operand_row),
                **group.words(lists),
                **common,
                **words_of_sums[k % count],
                **engine.extras(extra, group),
            }
            if group.joined and output_gradient is not None:
                words["waiting"] = group.waiting
            if output_gradient is not None and arriving is not None and to_initial is not None:
                mine.append(gather_call(schedule, group.rows, output_gradient, arriving, to_initial))
            if inputs_gradient is not None and not schedule.whole and not with_tokens:
                mine.append(blank_call(schedule, group.rows, inputs_gradient))
            if not with_tokens:
                mine.append(Call(compiled, words))
                continue
            different = lists.distinct
            size = len(different) * layout.delta_row
            table = space.take(f"table{k}", size)[:size]
            of_rows = space.take(f"rows{k}", len(different) * features)
            tables.append((different, of_rows))
            words |= {"source": lists.at["source"], "dense": 0, "table_gradient": table}
            after = {
                **words,
                "source": lists.at["distinct"],
                "target": np.arange(len(different)),
                "found": lists.at["found"],
                "deltas": table,
                "inputs_gradient": 0 if inputs_gradient is None else of_rows,
            }
            mine += [clearing(table), Call(compiled, words), Call(engine.kernel("table"), after)]
        run_jobs([chain(mine) for mine in calls], count)
        if inputs_gradient is not None:
            for different, of_rows in tables:
                add_rows(inputs_gradient, different, of_rows)
        sums[CONSTANTS] = constants(engine.dtype)
        write = functools.partial(gradient_moves, layout, features, params_gradient, sums)
        engine.moves.make(("gradients", features, count), params_gradient, sums, write, count)
    for s, wanted in enumerate(initial_gradient or ()):
        if wanted is not None:
            wanted[...] = to_initial if s == 0 and to_initial is not None else 0
            for group, carried in zip(parts, cotangents, strict=True):
                wanted[group.rows] += carried[0, :, s, : engine.units]


def _carried(engine: Engine, group: Group, last_gradient: Sequence[Array | None] | None) -> Array:
    """What arrives at a group's last states, and room for what passes on: (2, rows, states, padded)."""
    rows, layout = len(group.rows), engine.layout
    flat = layout.states_of(np.zeros(2 * rows * layout.state_row, engine.dtype))
    carried = flat.reshape(2, rows, *flat.shape[1:])
    for s, given in enumerate(last_gradient or ()):
        if given is not None:
            carried[:, :, s, : engine.units] = given[group.rows]
    if group.joined:  # rows that never join end with row 0's states
        carried[:, 0] += carried[:, group.counts == 0].sum(axis=1)
    return carried
