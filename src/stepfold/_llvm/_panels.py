"""Packed matrices: which a stage reads, in which order, and how they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .._graph import Node
from .._plan import Arrangement, Place, Stage, matrix_terms, operand_place
from ._sizes import Offsets, Sizes

Part = tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Panel:
    """A packed matrix stack: at `offset` [groups][parts · length][terms][blocks · lanes].

    A part is an operand of `length` elements; `parts` gives its terms, each (matrix, transposed).
    """

    offset: int
    groups: int
    length: int
    blocks: int
    parts: tuple[tuple[tuple[str, bool], ...], ...]

    def stride(self, lanes: int) -> int:
        """How many elements a group holds."""
        return len(self.parts) * self.length * len(self.parts[0]) * self.blocks * lanes

    def size(self, lanes: int) -> int:
        """How many elements it holds."""
        return self.groups * self.stride(lanes)


@dataclass(frozen=True)
class Operand:
    """What a run of products takes: operands of `length` elements side by side, the first at `place`; for
    each the matrices of the accumulators `takers`."""

    place: Place
    length: int
    takers: list[int]
    parts: list[Part]


def accumulator_groups(stage: Stage, arrangement: Arrangement, registers: int) -> list[list[Node]]:
    """Split a stage's accumulators into groups that fit into registers, those with the same operands
    together."""
    most = 6 if registers >= 32 else 4
    order = sorted(
        stage.products, key=lambda n: [str(operand_place(arrangement, o)) for _, _, o in matrix_terms(n)]
    )
    if not order:
        return []
    count = -(-len(order) // most)
    size = -(-len(order) // count)
    return [order[i : i + size] for i in range(0, len(order), size)]


def operands_of(
    group: Sequence[Node], arrangement: Arrangement, sizes: Sizes, offsets: Offsets
) -> list[Operand]:
    """The operands of a group of accumulators, in the order in which they are walked over."""
    by_operand: dict[Place, list[tuple[int, str, bool]]] = {}
    lengths: dict[Place, int] = {}
    for a, n in enumerate(group):
        for matrix, transposed, operand in matrix_terms(n):
            place = operand_place(arrangement, operand)
            by_operand.setdefault(place, []).append((a, matrix, transposed))
            lengths[place] = sizes.size(operand.dims[0])
    found: list[Operand] = []
    for place, terms in sorted(by_operand.items(), key=lambda item: (item[0].kind, item[0].slot)):
        while terms:  # an accumulator that takes the same operand twice needs two walks
            once = {a: (a, m, t) for a, m, t in reversed(terms)}
            now = [term for term in terms if once[term[0]] == term]
            terms = [term for term in terms if once[term[0]] != term]
            takers, part = [a for a, _, _ in now], tuple((m, t) for _, m, t in now)
            mine = Operand(place, lengths[place], takers, [part])
            if found and _follows(found[-1], mine, offsets):
                found[-1].parts.append(part)
            else:
                found.append(mine)
    return found


def _follows(before: Operand, after: Operand, offsets: Offsets) -> bool:
    """Whether an operand lies right behind those before it and goes to the same accumulators: then one walk
    does."""
    if (before.place.kind, before.length, before.takers) != (after.place.kind, after.length, after.takers):
        return False
    return offsets.of(before.place) + len(before.parts) * before.length == offsets.of(after.place)
