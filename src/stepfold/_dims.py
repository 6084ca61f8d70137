"""The axes of an operation's result from those of its inputs; ValueError where they do not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ._axes import integer_of, is_plain, told
from ._graph import SCALAR, Dims

_MOST = 1 << 24  # elements of an axis whose size follows from others


def broadcast_dims(*dims: Dims) -> Dims:
    """Return the axes of an elementwise result: scalars broadcast, other axes must be equal."""
    wide = {d for d in dims if d != SCALAR}
    if len(wide) > 1:
        raise ValueError(f"{' and '.join(map(axes_text, sorted(wide)))} do not fit together elementwise")
    return wide.pop() if wide else SCALAR


def matmul_dims(matrix: Dims, vector: Dims) -> Dims:
    """Return the axes of `matrix @ vector`."""
    if len(matrix) != 2 or vector != matrix[1:]:
        raise ValueError(f"{axes_text(matrix)} @ {axes_text(vector)} do not fit")
    return matrix[:1]


def matmul_transposed_dims(matrix: Dims, vector: Dims) -> Dims:
    """Return the axes of `matrix.T @ vector`."""
    return matmul_dims(matrix[::-1], vector)


def outer_dims(left: Dims, right: Dims) -> Dims:
    """Return the axes of an outer product of two vectors."""
    if len(left) != 1 or len(right) != 1:
        raise ValueError(f"outer takes two vectors, not {axes_text(left)} and {axes_text(right)}")
    return left + right


def reduction_dims(vector: Dims) -> Dims:
    """Return the axes of a reduction over the elements of a vector: none."""
    if len(vector) != 1:
        raise ValueError(f"sum, mean and max reduce the units of a row, not {axes_text(vector)}")
    return SCALAR


def moved_dims(vector: Dims, by: Dims = SCALAR) -> Dims:
    """Return the axes of a vector whose elements change places: its own."""
    if len(vector) != 1 or by != SCALAR:
        raise ValueError(f"this takes a vector of the step, not {axes_text(vector)}")
    return vector


def window_dims(whole: Dims, window: Dims) -> Dims:
    """Return the axes of a part of a vector, or of rows of a matrix, or of that of which it is a part: the
    window's."""
    if not 0 < len(whole) == len(window) < 3 or whole[1:] != window[1:]:
        raise ValueError(f"a part of {axes_text(whole)} cannot have the axes {axes_text(window)}")
    return window


def blocks_dims(vector: Dims, blocks: Dims) -> Dims:
    """Return the axes of a vector each of whose elements is so many of another's, or the sum of so many."""
    if len(vector) != 1 or len(blocks) != 1:
        raise ValueError(f"this takes a vector of the step, not {axes_text(vector)}")
    return blocks


def size_of(axis: str, sizes: Mapping[str, int]) -> int:
    """Return the size of an axis: what `sizes` says, its name where that is an integer, or what it is the sum
    of; ValueError where that is no size."""
    if axis.isdecimal():
        return int(axis)
    if is_plain(axis):
        return sizes[axis]
    size = integer_of(axis, sizes)
    if size < 1:
        raise ValueError(f"the axis {axis} has {size} elements{told(axis, sizes)}; it needs at least one")
    if size > _MOST:
        raise ValueError(f"the axis {axis} has {size:,} elements{told(axis, sizes)}, more than {_MOST:,}")
    return size


def known_size(axis: str, sizes: Mapping[str, int]) -> int:
    """Return the size of an axis, -1 where it is not known or none."""
    try:
        return size_of(axis, sizes)
    except (KeyError, ValueError):
        return -1


def count_of(dims: Dims, sizes: Mapping[str, int]) -> int:
    """Return how many elements a value has."""
    return math.prod(size_of(axis, sizes) for axis in dims)


def axes_text(dims: Dims) -> str:
    """Return axes as an error writes them: `(units, features)`, `(units,)`, `a scalar`."""
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(dims)})" if dims else "a scalar"
