"""The way back of a batch: gradients summed a thread, then over threads, and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pool
from ._calls import run_jobs, split
from ._engine import Engine
from ._groups import CHUNK_ROWS, groups, tokens_of
from ._masked import gather_gradient
from ._memory import Address, Space
from ._pack import pack_input_gradient, pack_panels, pack_vectors, write_gradients
from ._schedule import Schedule

Array = NDArray[Any]
Sums = dict[str, Array]
_SUMMED = ("kernel_gradients", "recurrent_gradients", "column_gradients", "vector_gradients")


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
    states_gradient: Array | None = None,
    last_gradient: Sequence[Array | None] | None,
    inputs_gradient: Array | None,
    params_gradient: Mapping[str, Array],
    initial_gradient: Sequence[Array | None] | None,
    threads: int | None,
) -> None:
    """Carry gradients back; see `Recurrence.backward`.

    `states_gradient` (work, states, padded units), for a schedule of one row: gradients of all states after
    each step."""
    layout, made = engine.layout, engine.plan
    compiled = engine.kernel("back")
    count = engine.threads(int(schedule.counts.sum()), schedule.batch, threads)
    parts = groups(schedule, int(kept[-1]))
    to_initial: Array | None = None
    if output_gradient is not None and not schedule.whole and schedule.time:
        output_gradient, to_initial = gather_gradient(schedule, output_gradient)
    if inputs_gradient is not None and (tokens is not None or not schedule.whole or not made.input_deltas):
        inputs_gradient[...] = 0
    with engine.space() as space:
        panels = space.take("panels", compiled.kernel.panel_size)
        pack_panels(compiled.kernel.panels, layout.shape.lanes, params, panels)
        common: dict[str, Any] = {
            "dense": 1,
            "inputs": inputs,
            "features": inputs.shape[-1],
            "panels": panels,
            "vectors": pack_vectors(made.back_vectors, layout.shape.padded, params),
            "input_panel": pack_input_gradient(layout, params, inputs.shape[-1], engine.dtype),
            "output_gradient": 0 if output_gradient is None else output_gradient,
            "states_gradient": 0 if states_gradient is None else states_gradient,
            "inputs_gradient": 0 if inputs_gradient is None else inputs_gradient,
        }
        distinct: Array | None = None
        sources: list[Array] | None = None
        if tokens is not None and made.input_deltas:
            distinct, sources = tokens_of(parts, tokens, len(inputs))
            common["dense"] = 0
        table_rows = 0 if distinct is None else len(distinct)
        sums = [_sums(engine, space, k, inputs.shape[-1], table_rows) for k in range(count)]
        common = {word: Address(w) if isinstance(w, np.ndarray) else w for word, w in common.items()}
        jobs, cotangents = [], []
        for k, group in enumerate(parts):
            rows = len(group.rows)
            states, keep = engine.places(kept, schedule, group)
            carried = np.zeros((2, rows, made.states, layout.shape.padded), engine.dtype)
            for s, given in enumerate(last_gradient or ()):
                if given is not None:
                    carried[:, :, s, : engine.units] = given[group.rows]
            cotangents.append(carried)
            room = max(CHUNK_ROWS, rows)
            words = {
                **group.words,
                "states": states,
                "kept": keep,
                "scratch": space.take(f"scratch{k}", rows * compiled.kernel.scratch),
                "cotangents": carried,
                "deltas": space.take(f"deltas{k}", room * layout.delta_row),
                "operands": space.take(f"operands{k}", room * layout.operand_row),
                **common,
                **sums[k % count],
                **engine.extras(extra, group),
            }
            if sources is not None:
                words["source"] = sources[k]
            jobs.append(compiled.job(words))
        run_jobs(jobs, count)
        if distinct is not None:
            _table_back(engine, distinct, sums, common)
        total = sums[0]
        for other in sums[1:]:
            for key in _SUMMED:
                total[key] += other[key]
        write_gradients(layout, inputs.shape[-1], total, params_gradient)
    for s, wanted in enumerate(initial_gradient or ()):
        if wanted is not None:
            wanted[...] = to_initial if s == 0 and to_initial is not None else 0
            for group, carried in zip(parts, cotangents, strict=True):
                wanted[group.rows] += carried[0, :, s, : engine.units]


def _sums(engine: Engine, space: Space, number: int, features: int, table_rows: int) -> Sums:
    """One thread's sums, zeroed."""
    layout, made = engine.layout, engine.plan
    padded = layout.shape.padded
    sizes = {
        "kernel_gradients": features * made.input_deltas * padded,
        "recurrent_gradients": layout.recurrent_size,
        "column_gradients": len(made.column_sums) * padded,
        "vector_gradients": len(made.vector_gradients) * padded,
        "table_gradient": table_rows * layout.delta_row,
    }
    return {key: space.zeros(f"{key}{number}", size) for key, size in sizes.items()}


def _table_back(engine: Engine, distinct: Array, sums: list[Sums], common: Mapping[str, Any]) -> None:
    """From the table's gradient to the rows of `inputs` that the tokens chose, and to the kernels."""
    table, row = sums[0]["table_gradient"], engine.layout.delta_row
    for other in sums[1:]:
        table += other["table_gradient"]
    compiled = engine.kernel("table")
    jobs = []
    for mine, (first, count) in zip(sums, split(len(distinct), len(sums)), strict=False):
        words = {
            **common,
            "source": distinct[first:],
            "count": count,
            "deltas": table[first * row :],
            "kernel_gradients": mine["kernel_gradients"],
        }
        jobs.append(compiled.job(words))
    _pool.run(jobs)
