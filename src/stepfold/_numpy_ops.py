"""NumPy implementations of the operations that NumPy lacks; an array's last axes are those of the value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._moves import implementations


def _zero(x: Any) -> Any:
    return np.zeros((), np.asarray(x).dtype)


def relu(x: Any) -> Any:
    """Return the greater of x and 0; NaN stays NaN."""
    return np.maximum(x, _zero(x))


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)) without overflow."""
    return relu(x) + np.log1p(np.exp(-np.abs(x)))  # logaddexp warns of NaN


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(np.signbit(x), small, _zero(small) + 1) / (1 + small)


def erf(x: Any) -> Any:
    """Return the error function, computed in double precision and rounded once."""
    x = np.asarray(x)
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def matmul(matrix: Any, vector: Any) -> Any:
    """Return `matrix @ vector` for every row."""
    return vector @ matrix.T


def matmul_transposed(matrix: Any, vector: Any) -> Any:
    """Return `matrix.T @ vector` for every row."""
    return vector @ matrix


# These three are written in what arrays of NumPy, JAX, torch and TensorFlow have in common.


def outer(left: Any, right: Any) -> Any:
    """Return the outer product of two vectors for every row."""
    return left[..., :, None] * right[..., None, :]


def matvec(matrix: Any, vector: Any) -> Any:
    """Return `matrix @ vector` for every row, each with a matrix of its own."""
    return (matrix @ vector[..., None])[..., 0]


def matvec_transposed(matrix: Any, vector: Any) -> Any:
    """Return `matrix.T @ vector` for every row, each with a matrix of its own."""
    return (vector[..., None, :] @ matrix)[..., 0, :]


MATRIX_PRODUCTS = {"outer": outer, "matvec": matvec, "matvec_transposed": matvec_transposed}


def sum_over_units(x: Any) -> Any:
    """Return the sum over the units, with the axis kept."""
    return np.sum(x, axis=-1, keepdims=True)


def maximum_over_units(x: Any) -> Any:
    """Return the maximum over the units, with the axis kept."""
    return np.max(x, axis=-1, keepdims=True)


def _padded(x: Any, before: int, after: int, behind: int) -> Any:
    return np.pad(x, [*[(0, 0)] * (np.ndim(x) - 1 - behind), (before, after), *[(0, 0)] * behind])


MOVES = implementations(
    lambda arrays: np.concatenate(arrays, -1),
    _padded,
    lambda x: np.cumsum(x, -1, np.asarray(x).dtype),
    lambda x: x[..., ::-1],
    lambda x, many: np.repeat(x, many, -1),
)
