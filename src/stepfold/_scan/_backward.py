"""The way back of a batch: gradients summed a thread, then over threads, and taken out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Job, run_all, run_jobs
from ._engine import Engine
from ._groups import Group, groups, tokens_of
from ._lists import add_rows
from ._masked import blank_job, gather_job
from ._memory import Address, Space
from ._pack import (
    copy_all,
    input_gradient_size,
    pack_input_gradient,
    pack_panels,
    pack_vectors,
    write_gradients,
)
from ._schedule import Schedule

Array = NDArray[Any]
Sums = dict[str, Array]
_OTHERS = ("recurrent_gradients", "column_gradients", "vector_gradients")
_LARGE = 200_000  # numbers from which on a second thread helps to clear and to add up


def backward(
    engine: Engine,
    schedule: Schedule,
    inputs: Array,
    params: Mapping[str, Array],
    kept: Array,
    *,
    tokens: Array | None,
    extra: Mapping[tuple[str, str], Array] | None,
    output_gradient: Array | None,
    last_gradient: Sequence[Array | None] | None,
    inputs_gradient: Array | None,
    params_gradient: Mapping[str, Array],
    initial_gradient: Sequence[Array | None] | None,
    threads: int | None,
) -> None:
    """Carry gradients back; see `Recurrence.backward`."""
    layout, made = engine.layout, engine.plan
    compiled = engine.kernel("back")
    count = engine.threads(int(schedule.counts.sum()), schedule.batch, threads)
    parts = groups(schedule, int(kept[-1]))
    with_tokens = tokens is not None and bool(made.input_deltas)
    if inputs_gradient is not None and not made.input_deltas:
        inputs_gradient[...] = 0
    with engine.space() as space:
        arriving, to_initial = output_gradient, None
        if output_gradient is not None and not schedule.whole:
            arriving = space.take("gathered", output_gradient.size)
            to_initial = np.empty((schedule.batch, engine.units), engine.dtype)
        panels = space.take("panels", compiled.kernel.panel_size)
        input_panel = space.take("input_panel", input_gradient_size(layout, inputs.shape[-1]))
        copies = pack_panels(compiled.kernel.panels, layout.shape.lanes, params, panels)
        copies += pack_input_gradient(layout, params, inputs.shape[-1], input_panel)
        copy_all(copies, count)
        common: dict[str, Any] = {
            "dense": 1,
            "inputs": inputs,
            "features": inputs.shape[-1],
            "panels": panels,
            "vectors": pack_vectors(made.back_vectors, layout.shape.padded, params),
            "input_panel": input_panel,
            "output_gradient": 0 if arriving is None else arriving,
            "inputs_gradient": 0 if inputs_gradient is None else inputs_gradient,
        }
        common = {word: Address(w) if isinstance(w, np.ndarray) else w for word, w in common.items()}
        sums = [_sums(engine, space, k, inputs.shape[-1]) for k in range(count)]
        chosen = tokens_of(parts, tokens, len(inputs)) if with_tokens and tokens is not None else None
        to_clear = [list(mine.values()) for mine in sums]
        if with_tokens and inputs_gradient is not None:
            flat = inputs_gradient.reshape(-1)
            for k, mine in enumerate(to_clear):
                mine.append(flat[k * len(flat) // count : (k + 1) * len(flat) // count])
        jobs: list[Job] = [functools.partial(_clear, mine) for mine in to_clear]
        cotangents, tables = [], []
        for k, group in enumerate(parts):
            rows = len(group.rows)
            states, keep = engine.places(kept, parts, group)
            carried = _carried(engine, group, last_gradient)
            cotangents.append(carried)
            chunk = layout.chunk(rows)
            room = chunk * rows
            words = {
                **group.words,
                "chunk": chunk,
                "states": states,
                "kept": keep,
                "scratch": space.take(f"scratch{k}", rows * compiled.kernel.scratch),
                "cotangents": carried,
                "deltas": space.take(f"deltas{k}", room * layout.delta_row),
                "packed": space.take(f"packed{k % count}", layout.packed_size),
                "operands": space.take(f"operands{k}", room * layout.operand_row),
                **common,
                **sums[k % count],
                **engine.extras(extra, group),
            }
            if group.joined and output_gradient is not None:
                words["waiting"] = group.waiting
            first: list[Job] = []
            if output_gradient is not None and arriving is not None and to_initial is not None:
                first.append(gather_job(schedule, group.rows, output_gradient, arriving, to_initial))
            if inputs_gradient is not None and not schedule.whole and not with_tokens:
                first.append(blank_job(schedule, group.rows, inputs_gradient))
            if chosen is None:
                jobs.append(functools.partial(run_all, [*first, compiled.job(words)]))
            else:
                different, source = chosen[k]
                size = len(different) * layout.delta_row
                table = space.take(f"table{k}", size)[:size]
                tables.append(space.take(f"rows{k}", len(different) * inputs.shape[-1]))
                words |= {"source": source, "dense": 0, "table_gradient": table}
                after = {
                    **words,
                    "source": different,
                    "target": np.arange(len(different)),
                    "count": len(different),
                    "deltas": table,
                    "inputs_gradient": 0 if inputs_gradient is None else tables[-1],
                }
                first.append(functools.partial(_clear, [table]))
                both = [compiled.job(words), engine.kernel("table").job(after)]
                jobs.append(functools.partial(run_all, [*first, *both]))
        run_jobs(jobs, count)
        if chosen is not None and inputs_gradient is not None:
            for (different, _), of_rows in zip(chosen, tables, strict=True):
                add_rows(inputs_gradient, different, of_rows)
        total = sums[0]
        of_inputs, others = write_gradients(layout, inputs.shape[-1], total, params_gradient)
        finish = [
            functools.partial(run_all, [*_add_up(sums, ("kernel_gradients",)), of_inputs]),
            functools.partial(run_all, [*_add_up(sums, _OTHERS), others]),
        ]
        run_jobs(finish, count if len(total["recurrent_gradients"]) >= _LARGE else 1)
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


def _sums(engine: Engine, space: Space, number: int, features: int) -> Sums:
    """Room for one thread's sums; the thread itself clears it."""
    layout, made = engine.layout, engine.plan
    padded = layout.shape.padded
    sizes = {
        "kernel_gradients": features * made.input_deltas * padded,
        "recurrent_gradients": layout.recurrent_size,
        "column_gradients": len(made.column_sums) * padded,
        "vector_gradients": len(made.vector_gradients) * padded,
        "table_gradient": 0,
    }
    return {key: space.take(f"{key}{number}", size)[: max(1, size)] for key, size in sizes.items()}


def _clear(arrays: Sequence[Array]) -> None:
    for array in arrays:
        array.fill(0)


def _add_up(sums: list[Sums], keys: Sequence[str]) -> list[Job]:
    """Jobs that add all threads' sums to the first one's."""
    pairs = [(sums[0][key], other[key]) for other in sums[1:] for key in keys]
    return [functools.partial(np.add, total, other, total) for total, other in pairs]
