"""Whether the values after a timestep may lie where those before it lie.

A matrix of a row that is written where it was read is in the cache already, and takes half the memory. It may
be if every value is read before it is written: in an earlier stage, or in the same walk at the same element,
before the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .._graph import Dims, Node
from ._lower import matrix_terms, place_of
from ._stages import Arrangement, Stage

_BEFORE, _ELSEWHERE = -1, 1 << 30
"""Before the first operation of a walk; at another element than the walk's, and so at any time."""


def in_place(arrangement: Arrangement, before: str, after: str) -> bool:
    """Whether the values of the kind of place `after` may be stored where those of `before` lie."""
    written = {}
    for at, stage in enumerate(arrangement.stages):
        for n, place in (*stage.stores, *stage.scalar_stores):
            if place.kind == after:
                written[place.slot] = (at, _position(stage, n))
        for n in stage.contractions:
            home = arrangement.homes[n]
            if home.kind == after:
                written[home.slot] = (at, _BEFORE)
    for at, stage in enumerate(arrangement.stages):
        first: dict[int, int] = {}
        for slot, position in _reads(stage, before):
            end, store = written.get(slot, (at, _ELSEWHERE))
            if position not in (_BEFORE, _ELSEWHERE):  # what was read before is in a register
                position = first.setdefault(slot, position)
            if at > end or (at == end and position > store):
                return False
    return True


def _position(stage: Stage, n: Node) -> int:
    """After which operation of a walk a value is stored."""
    return stage.body.index(n) if n in stage.body else len(stage.body)


def _reads(stage: Stage, kind: str) -> Iterator[tuple[int, int]]:
    """The slots of a kind of places that a stage reads, and at which operation of its walk."""

    def slot(n: Node) -> Iterator[int]:
        if n.op == "place" and n.attributes[0] == kind:
            yield place_of(n).slot

    for n in stage.moves:
        yield from ((s, _BEFORE) for i in n.inputs for s in slot(i))
    for n in stage.products:
        yield from ((s, _ELSEWHERE) for i in n.inputs for s in slot(i))
        yield from ((s, _ELSEWHERE) for _, _, operand in matrix_terms(n) for s in slot(operand))
    for at, n in enumerate(stage.body):
        for i in n.inputs:
            here = i.dims == stage.dims
            yield from ((s, at if here else _ELSEWHERE) for s in slot(i))
    behind = len(stage.body)
    for n, _ in stage.stores:
        yield from ((s, behind) for s in slot(n))
    for n in (*stage.contractions, *stage.reductions):
        whole, *others = n.inputs
        yield from ((s, behind + 1) for s in slot(whole))
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
