"""What the operations of the table mean: for axes, and for NumPy arrays whose last axis is the units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._graph import SCALAR, UNITS, Dims

# ---- axes: the result's from the inputs', or a ValueError that says why they do not fit -------------------


def together(*dims: Dims) -> Dims:
    """The axes of an elementwise result: one number a row meets units, anything else must be alike."""
    wide = {d for d in dims if d != SCALAR}
    if len(wide) > 1:
        raise ValueError(f"{' and '.join(map(said, sorted(wide)))} do not fit together elementwise")
    if any(len(d) > 1 for d in wide):
        raise ValueError(f"a matrix {said(wide.pop())} can only stand on the left of @")
    return wide.pop() if wide else SCALAR


def matrix_times(matrix: Dims, vector: Dims) -> Dims:
    """The axes of `matrix @ vector`."""
    if len(matrix) != 2 or vector != matrix[1:]:
        raise ValueError(f"{said(matrix)} @ {said(vector)} do not fit")
    return matrix[:1]


def transposed_times(matrix: Dims, vector: Dims) -> Dims:
    """The axes of `matrix.T @ vector`."""
    return matrix_times(matrix[::-1], vector)


def over_units(vector: Dims) -> Dims:
    """The axes of a sum over the units of a row: none."""
    if vector != UNITS:
        raise ValueError(f"sum, mean and max run over the units of a row, not over {said(vector)}")
    return SCALAR


def said(dims: Dims) -> str:
    """Return axes as an error says them: `(units, features)`, `(units,)`, `one number`."""
    return f"({dims[0]},)" if len(dims) == 1 else f"({', '.join(dims)})" if dims else "one number"


# ---- NumPy: what is no function of NumPy's own ------------------------------------------------------------


def _zero(x: Any) -> Any:
    return np.zeros((), np.asarray(x).dtype)


def relu(x: Any) -> Any:
    """The greater of x and 0; NaN stays NaN."""
    return np.maximum(x, _zero(x))


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), which cannot overflow."""
    return relu(x) + np.log1p(np.exp(-np.abs(x)))  # logaddexp warns of NaN


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), with an exponential that cannot overflow."""
    small = np.exp(-np.abs(x))
    return np.where(np.signbit(x), small, _zero(small) + 1) / (1 + small)


def erf(x: Any) -> Any:
    """The error function, computed in double precision and rounded once."""
    x = np.asarray(x)
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def matmul(matrix: Any, vector: Any) -> Any:
    """A matrix times every row."""
    return vector @ matrix.T


def matmul_transposed(matrix: Any, vector: Any) -> Any:
    """A transposed matrix times every row."""
    return vector @ matrix


def total(x: Any) -> Any:
    """The sum over the units, its axis kept."""
    return np.sum(x, axis=-1, keepdims=True)


def greatest(x: Any) -> Any:
    """The greatest over the units, its axis kept."""
    return np.max(x, axis=-1, keepdims=True)
