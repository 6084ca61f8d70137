"""LLVM lowerings of more than one instruction, and ONNX lowerings of more than one operator."""

from __future__ import annotations

from typing import Any

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
