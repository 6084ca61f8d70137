"""Functions of the cell language that move the elements of vectors: parts, shifts, order, running sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import _ops
from ._axes import LARGEST, multiplied
from ._declared import is_axis
from ._dims import size_of
from ._errors import error_here
from ._moves import MOST_REPEATED, Window, offset
from ._numpy_ops import MOVES
from ._slices import axes_of, joined, parts_of, value_of, vector_of
from ._trace import Traced, as_node

_sizes: ContextVar[Mapping[str, int] | None] = ContextVar("sizes_of_axes", default=None)
"""The sizes of axes while a cell computes a step with NumPy."""


@contextmanager
def known_sizes(sizes: Mapping[str, int]) -> Iterator[None]:
    """`with known_sizes(sizes):` `split` of NumPy arrays knows how large the axes are."""
    token = _sizes.set(sizes)
    try:
        yield
    finally:
        _sizes.reset(token)


def _first() -> int:
    """The axis along which NumPy arrays have parts: in a cell, of one row, the first; else the last."""
    return 0 if _sizes.get() is not None else -1


def _moved(op: str, x: Any, what: str, *by: int) -> Any:
    if not isinstance(x, Traced):
        return MOVES[op](np.asarray(x), *(Window(number, 0, 0) for number in by))
    return Traced(_ops.apply(op, vector_of(x.node, what), *map(offset, by)))


def _integer(what: str, by: Any) -> int:
    if isinstance(by, bool) or not isinstance(by, (int, np.integer)) or not -LARGEST <= by <= LARGEST:
        raise error_here(f"{what} takes an integer that is fixed when the step is traced, not {by!r}")
    return int(by)


def cumsum(x: Any, *, reverse: bool = False) -> Any:
    """The running sum of a vector's elements, from the first on, with `reverse` from the last back."""
    return _moved("reverse_cumsum" if reverse else "cumsum", x, "cumsum")


def roll(x: Any, shift: int) -> Any:
    """A vector's elements `shift` places further on; those that leave at the end return at the begin."""
    return _moved("roll", x, "roll", _integer("roll", shift))


def shift(x: Any, by: int = 1) -> Any:
    """A vector's elements `by` places further on (back, if below zero); zeros take the places left."""
    return _moved("shift", x, "shift", _integer("shift", by))


def reverse(x: Any) -> Any:
    """A vector's elements in the opposite order, as `x[::-1]`."""
    return _moved("reverse", x, "reverse")


def repeat(x: Any, many: int) -> Any:
    """A vector's elements, each `many` times in a row: `repeat(v, 3)` has three times as many."""
    many = _integer("repeat", many)
    if not 1 <= many <= MOST_REPEATED:
        raise error_here(f"repeat takes a number from 1 to {MOST_REPEATED:,}, not {many}")
    if not isinstance(x, Traced):
        return np.repeat(np.asarray(x), many, _first())
    vector = vector_of(x.node, "repeat")
    axis = multiplied(vector.dims[0], many)
    return Traced(vector if many == 1 else _ops.apply("repeat", vector, offset(many, (axis,))))


def split(x: Any, parts: int | str | Sequence[str]) -> list[Any]:
    """The parts of a vector, one after the other; of a matrix, its rows.

    `parts`: how many equal ones; or the names of their axes, `split(v, "keep write")`, whose sizes are given
    with the layer and together are the vector's.
    """
    if isinstance(x, Traced):
        return [Traced(n) for n in parts_of(value_of(x.node, "split"), parts)]
    array, axis = np.asarray(x), _first()
    if isinstance(parts, int):
        return np.split(array, parts, axis)
    try:
        ends = np.cumsum([size_of(part, _sizes.get() or {}) for part in axes_of(parts)])
    except KeyError as error:
        raise ValueError(f"the size of the axis {error.args[0]} is known in a cell alone") from None
    return np.split(array, ends[:-1], axis)


def concatenate(values: Sequence[Any], axis: str | None = None) -> Any:
    """Vectors and scalars of the step as one vector, one behind the other; rows of matrices as one matrix.

    Its axis is the sum of theirs, such as `features+units`; `axis` names another of the same size.
    """
    if not isinstance(values, (list, tuple)) or not values:
        raise error_here("concatenate takes a list of vectors, concatenate([a, b])")
    if not any(isinstance(value, Traced) for value in values):
        return np.concatenate([np.atleast_1d(value) for value in values], _first())
    if axis is not None and not (isinstance(axis, str) and is_axis(axis)):
        raise error_here(f"concatenate gives the result an axis by its name, axis='units', not {axis!r}")
    nodes = [as_node(value) for value in values]
    return Traced(joined([n if not n.dims else value_of(n, "concatenate") for n in nodes], axis))
