"""The way forward of a batch: memory laid out, groups of rows handed to threads, results taken out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Compiled, Job, run_all, run_jobs
from ._engine import Engine
from ._groups import Group, groups, tokens_of
from ._masked import repeat_job
from ._memory import Address, Space
from ._pack import copy_all, input_panel_size, pack_panels, pack_projection, pack_vectors
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
    count = engine.threads(int(schedule.counts.sum()), schedule.batch, threads)
    members = engine.members(schedule.batch, threads) if kept is None else 1
    compiled = engine.kernel("train" if kept is not None else "team" if members > 1 else "infer")
    parts = groups(schedule, count)
    if kept is not None:
        kept[-1] = count  # how the batch was cut: the way back may have other threads
    with engine.space() as space:
        panels = space.take("panels", compiled.kernel.panel_size)
        input_panel = space.take("input_panel", input_panel_size(layout, inputs.shape[-1]))
        copies, bias = pack_projection(layout, params, inputs.shape[-1], input_panel)
        copies += pack_panels(compiled.kernel.panels, layout.shape.lanes, params, panels)
        copy_all(copies, count)
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
        common = {word: Address(w) if isinstance(w, np.ndarray) else w for word, w in common.items()}
        with_tokens = tokens is not None and bool(layout.plan.projections)
        chosen = tokens_of(parts, tokens, len(inputs)) if with_tokens and tokens is not None else None
        jobs, homes = [], []
        for k, group in enumerate(parts):
            states, keep = _states(engine, space, parts, k, kept)
            homes.append(states)
            for s in range(layout.plan.states):
                given = None if initial is None else initial[s]
                states[: len(group.rows), s, : engine.units] = 0 if given is None else given[group.rows]
            chunk = layout.chunk(len(group.rows))
            room = chunk * len(group.rows) if chosen is None else len(chosen[k][0])
            words = {
                **group.words,
                "chunk": chunk,
                "states": states,
                "kept": keep,
                "scratch": space.take(f"scratch{k}", members * len(group.rows) * compiled.kernel.scratch),
                "projection": space.take(f"projection{k}", room * layout.projection_row),
                **common,
                **engine.extras(extra, group),
            }
            if group.joined and outputs is not None:
                words["waiting"] = group.waiting
            first: list[Job] = []
            if chosen is not None:
                different, source = chosen[k]
                first.append(
                    engine.kernel("project").job({**words, "source": different, "count": len(different)})
                )
                words |= {"source": source, "dense": 0}
            after: list[Job] = []
            if outputs is not None and not schedule.whole:
                given = None if initial is None else initial[0]
                after.append(repeat_job(schedule, group.rows, outputs, given))
            if members > 1:
                run_all(first)
                run_jobs(_shared(compiled, words, members), members)
                run_all(after)
            else:
                jobs.append(functools.partial(run_all, [*first, compiled.job(words), *after]))
        run_jobs(jobs, count)
        for group, states in zip(parts, homes, strict=True):
            final = group.last(ring=kept is None)
            for s, wanted in enumerate(last or ()):
                if wanted is not None:
                    wanted[group.rows] = states[final, s, : engine.units]


def _shared(compiled: Compiled, words: Mapping[str, Any], members: int) -> list[Job]:
    """The jobs of a team that shares a group: all must run at one time, for they wait for one another."""
    team = {"members": members, "counter": np.zeros(1, np.int64)}
    return [compiled.job({**words, **team, "member": member}) for member in range(members)]


def _states(
    engine: Engine, space: Space, parts: Sequence[Group], number: int, kept: Array | None
) -> tuple[Array, Array]:
    """Where a group's states lie, (slots, states, padded), and its kept values: nothing but a ring of two if
    none are."""
    group = parts[number]
    if kept is not None:
        return engine.places(kept, parts, group)
    slots, row = 2 * len(group.rows), engine.layout.state_row
    memory = space.take(f"states{number}", slots * row)[: slots * row]
    return engine.layout.states_of(memory), memory
