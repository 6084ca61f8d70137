"""The way forward of a batch: memory laid out, groups of rows handed to threads, results taken out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pool
from ._calls import Call, Compiled, Job, run_chains
from ._engine import Engine
from ._groups import Batch
from ._masked import repeat_call
from ._memory import Address, address
from ._moves import Params
from ._pack import forward_moves, forward_room

Array = NDArray[Any]


def forward(
    engine: Engine,
    batch: Batch,
    inputs: Array,
    params: Params | Mapping[str, Array],
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
        lay_out = functools.partial(forward_moves, layout, compiled.kernel, features, room)
        engine.moves.make((compiled.kernel.name, features), Params.of(params), room, lay_out, count)
        common: dict[str, Any] = {
            "inputs": Address(inputs),
            "features": features,
            **room,
            "outputs": 0 if outputs is None else Address(outputs),
            "ring": int(kept is None),
        }
        calls: list[list[Call]] = [[] for _ in range(count)]
        listed = [group.lists if layout.plan.step_inputs else group.planned() for group in parts]
        for k, (group, lists) in enumerate(zip(parts, listed, strict=True)):
            rows, mine, chunk = len(group.rows), calls[k % count], layout.chunk(len(group.rows))
            states, keep = (
                (space.at(f"states{k}", 2 * rows * layout.state_row), 0)  # the last two timesteps'
                if kept is None
                else engine.places(address(kept), parts, group)
            )
            mine += lists.calls
            mine += engine.begin(group, states, initial)
            words = {
                "dense": 1,
                "chunk": chunk,
                "states": states,
                "kept": keep,
                "scratch": space.at(f"scratch{k}", members * rows * compiled.kernel.scratch),
                **group.words(lists, waits=outputs is not None),
                **common,
                **engine.extras(extra, group),
            }
            most = lists.most_distinct if with_tokens else chunk * rows
            words["projection"] = space.at(f"projection{k}", most * layout.projection_row)
            if with_tokens:
                of_tokens = {"found": lists.at["found"], "source": lists.at["distinct"]}
                mine.append(Call(engine.kernel("project"), words | of_tokens))
                words |= {"source": lists.at["source"], "dense": 0}
            if members > 1:
                run_chains([mine])
                mine.clear()
                _pool.run(_shared(compiled, words, members))
            else:
                mine.append(Call(compiled, words))
            if outputs is not None and not schedule.whole:
                mine.append(repeat_call(schedule, group.rows, outputs, initial[0] if initial else None))
            mine += engine.end(group, states, lists.at["slots"], last, ring=kept is None)
        run_chains(calls)
        for group, lists in zip(parts, listed, strict=True):
            group.made(lists)


def _shared(compiled: Compiled, words: Mapping[str, Any], members: int) -> list[Job]:
    """The jobs of a team that shares a group: all must run at one time, for they wait for one another."""
    team = {"members": members, "counter": np.zeros(1, np.int64)}
    return [compiled.job({**words, **team, "member": member}) for member in range(members)]
