"""The functions of the cell language, on traced values and on NumPy arrays (the last axis is the units)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from . import _ops
from ._dims import axes_text
from ._errors import error_here
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


def sin(x: T) -> T:
    """Sine; kernels compute it for arguments up to 1e8."""
    return _unary("sin", x)


def cos(x: T) -> T:
    """Cosine; kernels compute it for arguments up to 1e8."""
    return _unary("cos", x)


def floor(x: T) -> T:
    """The greatest integer that is not above `x`; its derivative is 0."""
    return _unary("floor", x)


def mod(x: Any, y: Any) -> Any:
    """`x - floor(x / y) * y`, the remainder with the sign of `y`."""
    return x - floor(x / y) * y


def square(x: Any) -> Any:
    """`x * x`."""
    return x * x


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


def logical_and(a: Any, b: Any) -> Any:
    """Whether both conditions hold: `a & b`."""
    return _call("logical_and", a, b)


def logical_or(a: Any, b: Any) -> Any:
    """Whether one of two conditions holds, or both: `a | b`."""
    return _call("logical_or", a, b)


def logical_not(a: Any) -> Any:
    """Whether a condition does not hold: `~a`."""
    return _call("logical_not", a)


def sum(x: Any, axis: str | None = None) -> Any:
    """Sum over the elements of a vector, or of a matrix: a per-row scalar; of a matrix over one `axis`, named
    as it is declared: a vector of the other."""
    if isinstance(x, Traced) and len(x.node.dims) == 2:
        if axis is None:
            return Traced(_ops.total(x.node))
        if axis not in x.node.dims or x.node.dims[0] == x.node.dims[1]:
            raise error_here(f"axis {axis!r} is not one of two different axes {axes_text(x.node.dims)}")
        return Traced((_ops.row_sums if axis == x.node.dims[1] else _ops.column_sums)(x.node))
    return _call("sum", x)


def max(x: Any) -> Any:
    """Maximum over the units of a row: a per-row scalar."""
    return _call("max", x)


def outer(a: Any, b: Any) -> Any:
    """The outer product of two vectors of a row, (a, b): `outer(a, b) @ c` is `a * sum(b * c)`."""
    return _call("outer", a, b)


def mean(x: Any) -> Any:
    """Mean over the elements of a vector, or of a matrix: a per-row scalar."""
    if isinstance(x, Traced):
        node = as_node(x)
        return Traced(functools.reduce(_ops.divide, map(_ops.size, node.dims), as_node(sum(x))))
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


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` above zero, `alpha * (exp(x) - 1)` below (Clevert, Unterthiner & Hochreiter 2016)."""
    return where(x > 0.0, x, alpha * (exp(minimum(x, 0.0)) - 1.0))


def selu(x: Any) -> Any:
    """`elu` with the alpha and the scale of Klambauer et al. 2017 (arXiv:1706.02515)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """`x` above zero, `alpha * (exp(x / alpha) - 1)` below (Barron 2017, arXiv:1704.07483)."""
    return where(x > 0.0, x, alpha * (exp(minimum(x, 0.0) / alpha) - 1.0))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """`x` above zero, `negative_slope * x` below."""
    return where(x >= 0.0, x, negative_slope * x)


def relu6(x: Any) -> Any:
    """`clip(x, 0, 6)`."""
    return clip(x, 0.0, 6.0)


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """`x` above the threshold, `default_value` elsewhere."""
    return where(x > threshold, x, default_value)


def mish(x: Any) -> Any:
    """`x * tanh(softplus(x))` (Misra 2019, arXiv:1908.08681)."""
    return x * tanh(softplus(x))


def squareplus(x: Any, b: float = 4.0) -> Any:
    """`(x + sqrt(x² + b)) / 2` (Barron 2021, arXiv:2112.11687)."""
    return 0.5 * (x + sqrt(x * x + b))


def sparse_plus(x: Any) -> Any:
    """0 up to -1, `x` from 1, `(x + 1)² / 4` between."""
    return where(x <= -1.0, 0.0, where(x >= 1.0, x, (x + 1.0) * (x + 1.0) * 0.25))


def sparse_sigmoid(x: Any) -> Any:
    """`clip((x + 1) / 2, 0, 1)`."""
    return 0.5 * clip(x + 1.0, 0.0, 2.0)


def hard_silu(x: Any) -> Any:
    """`x * hard_sigmoid(x)`, also known as hard swish."""
    return x * hard_sigmoid(x)


def hard_tanh(x: Any) -> Any:
    """`clip(x, -1, 1)`, whose derivative at -1 and 1 is 1."""
    return where(x > 1.0, 1.0, where(x < -1.0, -1.0, x))


def tanh_shrink(x: Any) -> Any:
    """`x - tanh(x)`."""
    return x - tanh(x)


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """`x` moved towards zero by the threshold; zero where it is smaller than that."""
    return where(x > threshold, x - threshold, where(x < -threshold, x + threshold, 0.0))


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """`x` where its absolute value is above the threshold, zero elsewhere."""
    return where(abs(x) > threshold, x, 0.0)


def log_sigmoid(x: Any) -> Any:
    """`log(sigmoid(x))`."""
    return -softplus(-x)


def logsumexp(x: Any) -> Any:
    """`log(sum(exp(x)))` over the units of a row: a per-row scalar."""
    top = max(x)
    return top + log(sum(exp(x - top)))


def softmax(x: Any) -> Any:
    """`exp(x) / sum(exp(x))` over the units of a row."""
    shifted = exp(x - max(x))
    return shifted / sum(shifted)


def log_softmax(x: Any) -> Any:
    """`log(softmax(x))` over the units of a row."""
    shifted = x - max(x)
    return shifted - log(sum(exp(shifted)))


def layer_norm(x: Any, gain: Any, bias: Any = 0.0, *, epsilon: float = 1e-3) -> Any:
    """Normalise over the units of a row, then scale and shift (Ba, Kiros & Hinton 2016, arXiv:1607.06450)."""
    centred = x - mean(x)
    variance = mean(centred * centred)
    return centred / sqrt(variance + epsilon) * gain + bias


ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "linear": linear,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
    "relu": relu,
    "elu": elu,
    "silu": silu,
    "gelu": gelu,
    "softplus": softplus,
    "softsign": softsign,
    "exponential": exp,
    "softmax": softmax,
    "celu": celu,
    "hard_shrink": hard_shrink,
    "hard_silu": hard_silu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu6": relu6,
    "selu": selu,
    "soft_shrink": soft_shrink,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "squareplus": squareplus,
    "tanh_shrink": tanh_shrink,
}
"""The activations, with Keras's names and default parameters."""
