"""The functions of the cell language, on traced values and on NumPy arrays (the last axis is the units)."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from . import _ops
from ._trace import Traced, as_node, traced

T = TypeVar("T")


def _call(op: str, *inputs: Any) -> Any:
    if any(isinstance(i, Traced) for i in inputs):
        return traced(op, *inputs)
    row = _ops.TABLE[op]
    if op in _ops.REDUCTIONS:
        return row.numpy(inputs[0])[..., 0] if np.ndim(inputs[0]) == 1 else row.numpy(inputs[0])
    return row.numpy(*inputs)


def _unary(op: str, x: T) -> T:
    """A function of one value, whose result has the same type."""
    result: T = _call(op, x)
    return result


def tanh(x: T) -> T:
    """Hyperbolic tangent."""
    return _unary("tanh", x)


def sigmoid(x: T) -> T:
    """Logistic function, 1 / (1 + exp(-x))."""
    return _unary("sigmoid", x)


def relu(x: T) -> T:
    """`maximum(x, 0)`; its derivative at 0 is 0."""
    return _unary("relu", x)


def exp(x: T) -> T:
    """Exponential function."""
    return _unary("exp", x)


def log(x: T) -> T:
    """Natural logarithm."""
    return _unary("log", x)


def sqrt(x: T) -> T:
    """Square root."""
    return _unary("sqrt", x)


def abs(x: T) -> T:
    """Absolute value; its derivative at 0 is 0."""
    return _unary("abs", x)


def erf(x: T) -> T:
    """Error function."""
    return _unary("erf", x)


def softplus(x: T) -> T:
    """`log(1 + exp(x))`."""
    return _unary("softplus", x)


def maximum(a: Any, b: Any) -> Any:
    """The elementwise maximum of two values; NaN where one is NaN."""
    return _call("maximum", a, b)


def minimum(a: Any, b: Any) -> Any:
    """The elementwise minimum of two values; NaN where one is NaN."""
    return _call("minimum", a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where the condition (a comparison) holds, `b` elsewhere."""
    return _call("where", condition, a, b)


def sum(x: Any) -> Any:
    """Sum over the units of a row: a per-row scalar."""
    return _call("sum", x)


def max(x: Any) -> Any:
    """Maximum over the units of a row: a per-row scalar."""
    return _call("max", x)


def mean(x: Any) -> Any:
    """Mean over the units of a row: a per-row scalar."""
    if isinstance(x, Traced):
        return Traced(_ops.divide(as_node(sum(x)), _ops.units_count()))
    return np.mean(x, axis=-1, keepdims=np.ndim(x) > 1)


def clip(x: Any, low: Any, high: Any) -> Any:
    """`x` limited to the range from `low` to `high`."""
    return minimum(maximum(x, low), high)


def linear(x: T) -> T:
    """The value itself: no activation."""
    return x


def hard_sigmoid(x: Any) -> Any:
    """`clip(x / 6 + 1 / 2, 0, 1)`, as in Keras 3 and PyTorch."""
    return clip(x * (1.0 / 6.0) + 0.5, 0.0, 1.0)


def silu(x: Any) -> Any:
    """`x * sigmoid(x)`, also known as swish."""
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """`x * (1 + erf(x / sqrt(2))) / 2`, the exact form."""
    return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))


def softsign(x: Any) -> Any:
    """`x / (1 + abs(x))`."""
    return x / (1.0 + abs(x))


def elu(x: Any) -> Any:
    """`x` above zero, `exp(x) - 1` below."""
    return where(x > 0.0, x, exp(minimum(x, 0.0)) - 1.0)


def softmax(x: Any) -> Any:
    """`exp(x) / sum(exp(x))` over the units of a row."""
    shifted = exp(x - max(x))
    return shifted / sum(shifted)


def layer_norm(x: Any, gain: Any, bias: Any = 0.0, *, epsilon: float = 1e-3) -> Any:
    """Normalise over the units of a row, then scale and shift (Ba, Kiros & Hinton 2016, arXiv:1607.06450)."""
    centred = x - mean(x)
    variance = mean(centred * centred)
    return centred / sqrt(variance + epsilon) * gain + bias
