"""Whether the values after a timestep may lie where those before it lie.

A matrix of a row that is written where it was read is in the cache already, and takes half the memory. It may
be if every value is read before it is written: in an earlier stage, or in the same walk at the same element,
before the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .._graph import Dims, Node
from ._lower import Place, matrix_terms, place_of
from ._stages import Arrangement, Stage

_BEFORE, _ELSEWHERE = -1, 1 << 30
"""Before the first operation of a walk; at another element than the walk's, and so at any time.

Times in a stage are numbers: those of moves, before the walk, are below zero."""


def in_place(arrangement: Arrangement, before: str, after: str) -> bool:
    """Whether the values of the kind of place `after` may be stored where those of `before` lie."""
    written = {}
    for at, stage in enumerate(arrangement.stages):
        for slot, time in _writes(stage, arrangement.homes, after):
            written[slot] = (at, time)
    for at, stage in enumerate(arrangement.stages):
        first: dict[int, int] = {}
        for slot, time in _reads(stage, before):
            end, store = written.get(slot, (at, _ELSEWHERE))
            if 0 <= time < _ELSEWHERE:  # what the walk has read before is in a register
                time = first.setdefault(slot, time)
            if at > end or (at == end and time > store):
                return False
    return True


def _writes(stage: Stage, homes: Mapping[Node, Place], kind: str) -> Iterator[tuple[int, int]]:
    """The slots of a kind of places that a stage writes, and when: at the latest time at which they can
    still be read."""
    for n, time in [
        *((n, k - len(stage.moves) - 1) for k, n in enumerate(stage.moves)),  # not by the same move
        *((n, _BEFORE) for n in stage.contractions),
    ]:
        if homes[n].kind == kind:
            yield homes[n].slot, time
    times = {n: k for k, n in enumerate([*stage.body, *_stored_behind(stage)])}
    for n, place in stage.stores:
        if place.kind == kind:
            yield place.slot, times[n]
    for _, place in stage.scalar_stores:
        if place.kind == kind:
            yield place.slot, len(times)


def _stored_behind(stage: Stage) -> list[Node]:
    """What a walk stores but does not compute, in the order in which it is read and stored: one behind the
    other, behind the operations."""
    return [n for n in dict.fromkeys(n for n, _ in stage.stores) if n not in stage.body]


def _reads(stage: Stage, kind: str) -> Iterator[tuple[int, int]]:
    """The slots of a kind of places that a stage reads, and when."""

    def slot(n: Node) -> Iterator[int]:
        if n.op == "place" and n.attributes[0] == kind:
            yield place_of(n).slot

    for k, n in enumerate(stage.moves):
        yield from ((s, k - len(stage.moves)) for i in n.inputs for s in slot(i))
    for n in stage.products:
        yield from ((s, _ELSEWHERE) for i in n.inputs for s in slot(i))
        yield from ((s, _ELSEWHERE) for _, _, operand in matrix_terms(n) for s in slot(operand))
    for at, n in enumerate(stage.body):
        for i in n.inputs:
            here = i.dims == stage.dims
            yield from ((s, at if here else _ELSEWHERE) for s in slot(i))
    behind = _stored_behind(stage)
    for at, n in enumerate(behind, len(stage.body)):
        yield from ((s, at) for s in slot(n))
    for n in (*stage.contractions, *stage.reductions):
        whole, *others = n.inputs
        yield from ((s, len(stage.body) + len(behind)) for s in slot(whole))
        yield from ((s, _ELSEWHERE) for i in others for s in slot(i))
    for n in (*stage.scalars, *(n for n, _ in stage.scalar_stores)):
        yield from ((s, _ELSEWHERE) for i in (n, *n.inputs) for s in slot(i))


def constants_last(arrangement: Arrangement, kind: str) -> Arrangement:
    """Store what is constant in a kind of place behind everything else, so that what lies there before can
    be read."""
    stages: list[Stage] = []
    last: dict[Dims, Stage] = {}
    for stage in arrangement.stages:
        moved = [(n, place) for n, place in stage.stores if n.op == "constant" and place.kind == kind]
        kept = [store for store in stage.stores if store not in moved]
        stages.append(replace(stage, stores=kept))
        if moved:
            last.setdefault(stage.dims, Stage(dims=stage.dims)).stores.extend(moved)
    return replace(arrangement, stages=[*stages, *last.values()])
