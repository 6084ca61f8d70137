"""The way forward of a batch: memory laid out, groups of rows handed to threads, results taken out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calls import Call, Compiled, Job, chain, run_jobs
from ._engine import Engine
from ._groups import Batch, Group
from ._masked import repeat_call
from ._memory import Address, Space
from ._pack import forward_moves, forward_room

Array = NDArray[Any]


def forward(
    engine: Engine,
    batch: Batch,
    inputs: Array,
    params: Mapping[str, Array],
    initial: Sequence[Array | None] | None,
    *,
    extra: Mapping[tuple[str, str], Array] | None,
    outputs: Array | None,
    last: Sequence[Array | None] | None,
    kept: Array | None,
    threads: int | None,
) -> None:
    """Run a batch forward; see `Recurrence.forward`."""
    layout, schedule, features = engine.layout, batch.schedule, inputs.shape[-1]
    count = engine.threads(int(schedule.counts.sum()), schedule.batch, threads)
    members = engine.members(schedule.batch, threads) if kept is None else 1
    compiled = engine.kernel("train" if kept is not None else "team" if members > 1 else "infer")
    parts = batch.groups(count)
    with_tokens = batch.tokens is not None and bool(layout.plan.projections)
    if kept is not None:
        kept[-1] = count  # how the batch was cut: the way back may have other threads
    with engine.space() as space:
        room = forward_room(layout, compiled.kernel, features, space)
        lay_out = functools.partial(forward_moves, layout, compiled.kernel, features, params, room)
        engine.moves.make((compiled.kernel.name, features), params, room, lay_out, count)
        common: dict[str, Any] = {
            "inputs": inputs,
            "features": features,
            **room,
            "outputs": 0 if outputs is None else outputs,
            "ring": int(kept is None),
        }
        common = {word: Address(w) if isinstance(w, np.ndarray) else w for word, w in common.items()}

        calls: list[list[Call]] = [[] for _ in range(count)]
        listed = [group.lists if layout.plan.step_inputs else group.planned() for group in parts]
        homes = []
        for k, (group, lists) in enumerate(zip(parts, listed, strict=True)):
            rows, mine = len(group.rows), calls[k % count]
            states, keep = _states(engine, space, parts, k, kept)
            homes.append(states)
            for s in range(layout.plan.states):
                given = None if initial is None else initial[s]
                states[:rows, s, : engine.units] = 0 if given is None else given[group.rows]
            mine += lists.calls
            words = {
                "dense": 1,
                "chunk": layout.chunk(rows),
                "states": states,
                "kept": keep,
                "scratch": space.take(f"scratch{k}", members * rows * compiled.kernel.scratch),
                **group.words(lists),
                **common,
                **engine.extras(extra, group),
            }
            if group.joined and outputs is not None:
                words["waiting"] = group.waiting
            if with_tokens:
                words["projection"] = space.take(f"projection{k}", lists.most_distinct * layout.projection_row)
                words["found"], words["source"] = lists.at["found"], lists.at["distinct"]
                mine.append(Call(engine.kernel("project"), words))
                words = words | {"source": lists.at["source"], "dense": 0}
            else:
                words["projection"] = space.take(f"projection{k}", words["chunk"] * rows * layout.projection_row)
            if members > 1:
                run_jobs([chain(mine)], 1)
                mine.clear()
                run_jobs(_shared(compiled, words, members), members)
            else:
                mine.append(Call(compiled, words))
            if outputs is not None and not schedule.whole:
                given = None if initial is None else initial[0]
                mine.append(repeat_call(schedule, group.rows, outputs, given))
        run_jobs([chain(mine) for mine in calls], count)
        for group, lists, states in zip(parts, listed, homes, strict=True):
            group.made(lists)
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
