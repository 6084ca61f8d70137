"""How the gradients of weights come from the rows of one timestep's backward kernel, in few products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._runtime import MatrixGradient, OneTimestep, VectorGradient

_GAP = 64
"""Elements between deltas from which on a product of their own saves more than it costs."""


class Product(NamedTuple):
    """A product of matrices that gives pieces of gradients, one above the other: the columns of `terms` that
    hold their deltas, and those of their operand."""

    deltas: slice
    operand: slice
    members: tuple[MatrixGradient, ...]


def products_of(of: OneTimestep) -> list[Product]:
    """Join the gradients of matrices that have one operand and whose deltas follow one another."""
    found: list[Product] = []
    for each in sorted(of.matrix_gradients, key=lambda g: (g.operand, g.delta)):
        operand = slice(each.operand, each.operand + each.columns)
        deltas = slice(each.delta, each.delta + each.rows)
        members: tuple[MatrixGradient, ...] = (each,)
        if found and found[-1].operand == operand and 0 <= each.delta - found[-1].deltas.stop < _GAP:
            before = found.pop()
            deltas, members = slice(before.deltas.start, deltas.stop), (*before.members, each)
        found.append(Product(deltas, operand, _neighbours(members)))
    return found


def _neighbours(members: tuple[MatrixGradient, ...]) -> tuple[MatrixGradient, ...]:
    """The same with the last two as one if they lie side by side in `terms` and in one weight."""
    if len(members) < 2:
        return members
    one, other = members[-2:]
    beside = one.weight == other.weight and one.first + one.rows == other.first
    if not beside or one.delta + one.rows != other.delta:
        return members
    return (*members[:-2], one._replace(rows=one.rows + other.rows))


def joined_vectors(vectors: Sequence[VectorGradient]) -> list[VectorGradient]:
    """The same with those as one that lie side by side both where they come from and in one weight."""
    found: list[VectorGradient] = []
    for each in sorted(vectors, key=lambda g: (g.weight, g.first)):
        if found and _is_next(found[-1], each):
            found[-1] = found[-1]._replace(size=found[-1].size + each.size)
        else:
            found.append(each)
    return found


def _is_next(one: VectorGradient, other: VectorGradient) -> bool:
    ends = one.weight, one.first + one.size, one.begin + one.size
    return not (one.total or other.total) and ends == (other.weight, other.first, other.begin)
