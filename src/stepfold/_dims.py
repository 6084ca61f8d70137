"""The axes of an operation's result from those of its inputs; ValueError where they do not fit."""

from __future__ import annotations

from ._graph import SCALAR, UNITS, Dims


def broadcast_dims(*dims: Dims) -> Dims:
    """Return the axes of an elementwise result: scalars broadcast over units, other axes must be equal."""
    wide = {d for d in dims if d != SCALAR}
    if len(wide) > 1:
        raise ValueError(f"{' and '.join(map(_text, sorted(wide)))} do not fit together elementwise")
    if any(len(d) > 1 for d in wide):
        raise ValueError(f"a matrix {_text(wide.pop())} can only stand on the left of @")
    return wide.pop() if wide else SCALAR


def matmul_dims(matrix: Dims, vector: Dims) -> Dims:
    """Return the axes of `matrix @ vector`."""
    if len(matrix) != 2 or vector != matrix[1:]:
        raise ValueError(f"{_text(matrix)} @ {_text(vector)} do not fit")
    return matrix[:1]


def matmul_transposed_dims(matrix: Dims, vector: Dims) -> Dims:
    """Return the axes of `matrix.T @ vector`."""
    return matmul_dims(matrix[::-1], vector)


def reduction_dims(vector: Dims) -> Dims:
    """Return the axes of a reduction over the units of a row: none."""
    if vector != UNITS:
        raise ValueError(f"sum, mean and max reduce the units of a row, not {_text(vector)}")
    return SCALAR


def _text(dims: Dims) -> str:
    """Axes as an error writes them: `(units, features)`, `(units,)`, `a scalar`."""
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(dims)})" if dims else "a scalar"
