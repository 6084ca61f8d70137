"""LLVM lowerings of more than one instruction, and ONNX lowerings of more than one operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._moves import Window

# ---- LLVM lowerings of more than one instruction ----------------------------------------------------------


def lower_relu(v: Any, x: Any) -> Any:
    return v.maximum(x, v.constant(0.0))


def lower_softplus(v: Any, x: Any) -> Any:
    """log(1 + exp(x)) without overflow, and as exact as log1p where exp(x) is small."""
    small = v.exp(v.negate(v.absolute(x)))
    one = v.constant(1.0)
    sum_ = v.add(one, small)
    exact = v.multiply(v.log(sum_), v.divide(small, v.subtract(sum_, one)))
    return v.add(v.maximum(x, v.constant(0.0)), v.where(v.equal(sum_, one), small, exact))


# ---- ONNX lowerings of more than one operator -------------------------------------------------------------


def onnx_not_equal(b: Any, x: Any, y: Any) -> Any:
    return b.operator("Not", b.operator("Equal", x, y))


def onnx_matmul(b: Any, matrix: Any, vector: Any) -> Any:
    """`matrix @ vector` of every row: rows are vectors, so the matrix stands on the right, transposed."""
    return b.operator("MatMul", vector, b.transposed(matrix))


def onnx_outer(b: Any, left: Any, right: Any) -> Any:
    return b.operator("Mul", b.unsqueezed(left, -1), b.unsqueezed(right, -2))


def onnx_matvec(b: Any, matrix: Any, vector: Any) -> Any:
    return b.squeezed(b.operator("MatMul", matrix, b.unsqueezed(vector, -1)), -1)


def onnx_matvec_transposed(b: Any, matrix: Any, vector: Any) -> Any:
    return b.squeezed(b.operator("MatMul", b.unsqueezed(vector, -2), matrix), -2)


def onnx_matmul_transposed(b: Any, matrix: Any, vector: Any) -> Any:
    return b.operator("MatMul", vector, matrix)


# ---- ONNX lowerings of what moves the elements of a vector; an offset is known, with the size ------------

_END = 1 << 62  # a slice ends where the axis does


def _onnx_part(b: Any, x: str, begin: int, end: int = _END, step: int = 1, behind: int = 0) -> str:
    cut = b.integers(begin), b.integers(end), b.integers(-1 - behind), b.integers(step)
    return str(b.operator("Slice", x, *cut))


def _onnx_pad(b: Any, x: str, before: int, after: int, behind: int = 0) -> str:
    """Zeros before and after."""
    zeros = b.integers(before, after), b.constant(0.0), b.integers(-1 - behind)
    return str(b.operator("Pad", x, *zeros))


def _onnx_roll(b: Any, vector: str, by: Window) -> str:
    first = -by.begin % by.size
    cuts = _onnx_part(b, vector, first), _onnx_part(b, vector, 0, first)
    return str(b.operator("Concat", *cuts, axis=-1)) if first else vector


def _onnx_shift(b: Any, vector: str, by: Window) -> str:
    wide = _onnx_pad(b, vector, max(by.begin, 0), max(-by.begin, 0))
    begin = max(-by.begin, 0)
    return _onnx_part(b, wide, begin, begin + by.size)


def _onnx_blocks(b: Any, x: str, few: int, many: int, *, sums: bool = False) -> str:
    """By a matrix of ones and zeros, since the shape of a value is not known."""
    matrix = np.repeat(np.eye(few), many, axis=1)
    return str(b.operator("MatMul", x, b.constant(matrix.T if sums else matrix)))


def _onnx_cumsum(b: Any, vector: str, **flags: int) -> str:
    return str(b.operator("CumSum", vector, b.array(np.array(-1)), **flags))


ONNX_MOVES: Mapping[str, Callable[..., str]] = {
    "roll": _onnx_roll,
    "shift": _onnx_shift,
    "part": lambda b, x, by: _onnx_part(b, x, by.begin, by.begin + by.size, behind=by.behind),
    "pad": lambda b, x, by: _onnx_pad(b, x, by.begin, by.after, by.behind),
    "rename": lambda b, x, by: x,
    "repeat": lambda b, x, by: _onnx_blocks(b, x, by.inner, by.begin),
    "block_sums": lambda b, x, by: _onnx_blocks(b, x, by.size, by.begin, sums=True),
    "reverse": lambda b, vector: _onnx_part(b, vector, -1, -_END, -1),
    "cumsum": _onnx_cumsum,
    "reverse_cumsum": lambda b, vector: _onnx_cumsum(b, vector, reverse=1),
}
