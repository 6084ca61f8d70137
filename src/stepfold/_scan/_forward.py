"""The way forward of a batch: memory laid out, groups of rows handed to threads, results taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pool
from ._calls import run_jobs, split
from ._engine import Engine
from ._groups import CHUNK_ROWS, Group, groups, tokens_of
from ._masked import repeat_outputs
from ._memory import Address, Space
from ._pack import pack_panels, pack_projection, pack_vectors
from ._schedule import Schedule

Array = NDArray[Any]


def forward(
    engine: Engine,
    schedule: Schedule,
    inputs: Array,
    params: Mapping[str, Array],
    initial: Sequence[Array | None] | None,
    *,
    tokens: Array | None,
    extra: Mapping[tuple[str, str], Array] | None,
    outputs: Array | None,
    last: Sequence[Array | None] | None,
    kept: Array | None,
    threads: int | None,
) -> None:
    """Run a batch forward; see `Recurrence.forward`."""
    layout = engine.layout
    compiled = engine.kernel("infer" if kept is None else "train")
    count = engine.threads(int(schedule.counts.sum()), schedule.batch, threads)
    parts = groups(schedule, count)
    if kept is not None:
        kept[-1] = count  # how the batch was cut: the way back may have other threads
    with engine.space() as space:
        panels = space.take("panels", compiled.kernel.panel_size)
        pack_panels(compiled.kernel.panels, layout.shape.lanes, params, panels)
        input_panel, bias = pack_projection(layout, params, inputs.shape[-1], engine.dtype)
        common: dict[str, Any] = {
            "dense": 1,
            "inputs": inputs,
            "features": inputs.shape[-1],
            "panels": panels,
            "vectors": pack_vectors(layout.plan.vectors, layout.shape.padded, params),
            "input_panel": input_panel,
            "input_bias": bias,
            "outputs": 0 if outputs is None else outputs,
            "ring": int(kept is None),
        }
        sources: list[Array] | None = None
        if tokens is not None and layout.plan.projections:
            distinct, sources = tokens_of(parts, tokens, len(inputs))
            common |= {"dense": 0, "projection": _project(engine, space, distinct, common, count)}
        common = {word: Address(w) if isinstance(w, np.ndarray) else w for word, w in common.items()}
        jobs, homes = [], []
        for k, group in enumerate(parts):
            states, keep, final = _states(engine, space, schedule, group, k, kept)
            homes.append((states, final))
            for s in range(layout.plan.states):
                given = None if initial is None else initial[s]
                states[: len(group.rows), s, : engine.units] = 0 if given is None else given[group.rows]
            words = {
                **group.words,
                "states": states,
                "kept": keep,
                "scratch": space.take(f"scratch{k}", len(group.rows) * compiled.kernel.scratch),
                **common,
                **engine.extras(extra, group),
            }
            if sources is not None:
                words["source"] = sources[k]
            else:
                room = max(CHUNK_ROWS, len(group.rows)) * layout.projection_row
                words["projection"] = space.take(f"projection{k}", room)
            jobs.append(compiled.job(words))
        run_jobs(jobs, count)
        for group, (states, final) in zip(parts, homes, strict=True):
            for s, wanted in enumerate(last or ()):
                if wanted is not None:
                    wanted[group.rows] = states[final, s, : engine.units]
    if outputs is not None and not schedule.whole:
        repeat_outputs(schedule, outputs, None if initial is None else initial[0])


def _states(
    engine: Engine, space: Space, schedule: Schedule, group: Group, number: int, kept: Array | None
) -> tuple[Array, Array, Array]:
    """Where a group's states lie (…, states, padded), its kept values, and where each row's last states
    are."""
    if kept is not None:
        return *engine.places(kept, schedule, group), group.last
    rows, row = len(group.rows), engine.layout.state_row
    memory = space.take(f"states{number}", 2 * rows * row)[: 2 * rows * row]
    final = np.where(group.counts % 2 == 1, rows, 0) + np.arange(rows)
    return memory.reshape(2 * rows, engine.plan.states, -1), memory, final


def _project(engine: Engine, space: Space, distinct: Array, common: Mapping[str, Any], threads: int) -> Array:
    """Project the rows of the table that the tokens choose, each once."""
    compiled, row = engine.kernel("project"), engine.layout.projection_row
    table = space.take("table", len(distinct) * row)
    parts = split(len(distinct), threads)
    _pool.run(
        [
            compiled.job(
                {**common, "source": distinct[first:], "count": count, "projection": table[first * row :]}
            )
            for first, count in parts
        ]
    )
    return table
