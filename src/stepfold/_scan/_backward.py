"""The way back of a batch: gradients summed a thread, then over threads, and taken out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Call, clearing, run_chains
from ._engine import Engine
from ._groups import Batch
from ._lists import add_rows
from ._masked import blank_call, gather_call
from ._memory import Address, address
from ._moves import Params
from ._pack import CONSTANTS, backward_moves, backward_room, constants, gradient_moves

Array = NDArray[Any]


def backward(
    engine: Engine,
    batch: Batch,
    inputs: Array,
    params: Params | Mapping[str, Array],
    kept: Array,
    *,
    extra: Mapping[tuple[str, str], Array] | None,
    output_gradient: Array | None,
    last_gradient: Sequence[Array | None] | None,
    inputs_gradient: Array | None,
    params_gradient: Params | Mapping[str, Array],
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
        lay_out = functools.partial(backward_moves, layout, compiled.kernel, features, room)
        engine.moves.make(("back", features), Params.of(params), room, lay_out, count)
        common: dict[str, Any] = {
            "inputs": Address(inputs),
            "features": features,
            **room,
            "output_gradient": 0 if arriving is None else Address(arriving),
            "inputs_gradient": 0 if inputs_gradient is None else Address(inputs_gradient),
            "table_gradient": 0,
        }
        size, itemsize = layout.sums_size(features), engine.dtype.itemsize
        sums = {f"sums {k}": space.take(f"sums {k}", size) for k in range(count)}
        of_sums = [space.at(f"sums {k}", size) for k in range(count)]
        calls = [[clearing(mine, size * itemsize)] for mine in of_sums]
        if with_tokens and inputs_gradient is not None:
            first, size = address(inputs_gradient), inputs_gradient.nbytes
            for k, mine in enumerate(calls):
                begin = k * size // count
                mine.append(clearing(first + begin, (k + 1) * size // count - begin))
        tables = []
        for k, group in enumerate(parts):
            rows, lists, mine = len(group.rows), group.lists, calls[k % count]
            chunk, of_states = layout.chunk(rows), rows * layout.state_row
            states, keep = engine.places(address(kept), parts, group)
            cotangents = space.at(f"cotangents{k}", 2 * of_states)
            for half in (cotangents, cotangents + of_states * itemsize):
                mine += engine.begin(group, half, last_gradient)
            words = {
                "dense": 1,
                "chunk": chunk,
                "states": states,
                "kept": keep,
                "scratch": space.at(f"scratch{k}", rows * compiled.kernel.scratch),
                "cotangents": cotangents,
                "deltas": space.at(f"deltas{k}", chunk * rows * layout.delta_row),
                "packed": space.at(f"packed{k % count}", layout.packed_size),
                "operands": space.at(f"operands{k}", chunk * rows * layout.operand_row),
                **group.words(lists, waits=output_gradient is not None),
                **common,
                **{word: of_sums[k % count] + begin * itemsize for word, begin in layout.sums.items()},
                **engine.extras(extra, group),
            }
            if output_gradient is not None and arriving is not None and to_initial is not None:
                mine.append(gather_call(schedule, group.rows, output_gradient, arriving, to_initial))
            if inputs_gradient is not None and not schedule.whole and not with_tokens:
                mine.append(blank_call(schedule, group.rows, inputs_gradient))
            if not with_tokens:
                mine.append(Call(compiled, words))
                continue
            different = lists.distinct
            size = len(different) * layout.delta_row
            table = space.at(f"table{k}", size)
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
            mine += [
                clearing(table, size * itemsize),
                Call(compiled, words),
                Call(engine.kernel("table"), after),
            ]
        run_chains(calls)
        if inputs_gradient is not None:
            for different, of_rows in tables:
                add_rows(inputs_gradient, different, of_rows)
        sums[CONSTANTS] = constants(engine.dtype)
        write = functools.partial(gradient_moves, layout, features, sums)
        engine.moves.make(("gradients", features, count), Params.of(params_gradient), sums, write, count)
        for s, wanted in enumerate(initial_gradient or ()):
            if wanted is not None:
                wanted[...] = to_initial if s == 0 and to_initial is not None else 0
                for k, group in enumerate(parts):
                    size = len(group.rows) * layout.state_row
                    carried = layout.states_of(space.take(f"cotangents{k}", size)[:size])
                    wanted[group.rows] += carried[:, s, : engine.units]
