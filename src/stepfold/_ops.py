"""The one table of operations: a row an operation, and a column for whatever anybody must know of it.

Adding an operation is adding a row. The derivative column is written in the same operations, so that a derivative
can be derived again. `words` writes the operation with a vector-words object (see `_llvm`): the table knows the
words' names, not what they write.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._graph import RECURRENT_KERNEL, SCALAR, UNITS, Dims, Node, constant, leaf, node

Cotangents = tuple[Node | None, ...]


@dataclass(frozen=True)
class Operation:
    """A row of the table.

    `dims` gives the result's axes from the inputs' (or raises ValueError with a reason), `numpy` its meaning on arrays
    whose last axis is the units, `derivative` the cotangents of the inputs from (node, cotangent), `words` its
    instructions (None for what is a loop over units rather than one instruction: products and reductions), `text` and
    `latex` how it is printed, `keep` whether its value is worth keeping for the way back rather than computing again.
    """

    dims: Callable[..., Dims]
    numpy: Callable[..., Any]
    derivative: Callable[[Node, Node], Cotangents]
    words: Callable[..., Any] | None
    text: str
    latex: str
    keep: bool = False
    boolean: bool = False


def apply(op: str, *inputs: Node) -> Node:
    """Return the node of an operation on nodes, in its simplest form."""
    row = TABLE[op]
    simpler = _simplified(op, inputs)
    if simpler is not None:
        return simpler
    return node(op, inputs, (), row.dims(*(i.dims for i in inputs)), boolean=row.boolean)


def number(value: Node | float) -> Node:
    """Return a node as it is and a number as a constant."""
    return value if isinstance(value, Node) else constant(value)


def _do(op: str) -> Callable[..., Node]:
    return lambda *inputs: apply(op, *map(number, inputs))


add, subtract, multiply, divide, negate = (_do(op) for op in ("add", "subtract", "multiply", "divide", "negate"))
less, greater, equal, where = (_do(op) for op in ("less", "greater", "equal", "where"))
exp, sigmoid, total = _do("exp"), _do("sigmoid"), _do("sum")
matmul, matmul_transposed = _do("matmul"), _do("matmul_transposed")

_FOLD = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
}


def _simplified(op: str, inputs: tuple[Node, ...]) -> Node | None:
    """Return a simpler node of the same value and axes, if a rule knows one (none of them changes NaN or inf)."""
    values = [i.attributes[0] if i.op == "constant" else None for i in inputs]
    numbers = [float(v) for v in values if v is not None]
    if op in _FOLD and len(numbers) == len(inputs):
        dims = max((i.dims for i in inputs), key=len)
        return constant(_FOLD[op](*numbers), dims)
    if len(inputs) == 2:
        a, b = inputs
        dims = _together(a.dims, b.dims) if op in _BROADCASTS else None
        if op in ("add", "subtract") and values[1] == 0 and a.dims == dims:
            return a
        if op == "add" and values[0] == 0 and b.dims == dims:
            return b
        if op in ("multiply", "divide") and values[1] == 1 and a.dims == dims:
            return a
        if op == "multiply" and values[0] == 1 and b.dims == dims:
            return b
        if op == "multiply" and values[1] == -1 and a.dims == dims:
            return apply("negate", a)
        if op == "add" and b.op == "negate":
            return apply("subtract", a, b.inputs[0])
        if op == "subtract" and b.op == "negate":
            return apply("add", a, b.inputs[0])
    if op == "negate" and inputs[0].op == "negate":
        return inputs[0].inputs[0]
    return None


def _together(*dims: Dims) -> Dims:
    """The axes of an elementwise result: one number a row meets units, anything else must be alike."""
    wide = {d for d in dims if d != SCALAR}
    if len(wide) > 1:
        raise ValueError(f"axes {' and '.join('×'.join(d) for d in sorted(wide))} do not fit together elementwise")
    if any(len(d) > 1 for d in wide):
        raise ValueError(f"a value with axes {'×'.join(wide.pop())} can only stand on a side of @")
    return wide.pop() if wide else SCALAR


def _matrix_times(matrix: Dims, vector: Dims) -> Dims:
    if len(matrix) != 2 or vector != matrix[1:]:
        raise ValueError(f"axes {'×'.join(matrix) or 'scalar'} @ {'×'.join(vector) or 'scalar'} do not fit")
    return matrix[:1]


def _transposed_times(matrix: Dims, vector: Dims) -> Dims:
    return _matrix_times(matrix[::-1], vector)


def _over_units(vector: Dims) -> Dims:
    if vector != UNITS:
        raise ValueError(f"sum, mean and max run over the units of a row, not over {'×'.join(vector) or 'one number'}")
    return SCALAR


def _fit(cotangent: Node, like: Node) -> Node:
    """Sum a cotangent over the units where the input was one number for all of them."""
    return total(cotangent) if like.dims == SCALAR and cotangent.dims == UNITS else cotangent


def _fitted(rule: Callable[[Node, Node], Cotangents]) -> Callable[[Node, Node], Cotangents]:
    def derivative(result: Node, d: Node) -> Cotangents:
        pairs = zip(rule(result, d), result.inputs, strict=True)
        return tuple(None if c is None else _fit(c, i) for c, i in pairs)

    return derivative


def _no_derivative(result: Node, d: Node) -> Cotangents:
    return tuple(None for _ in result.inputs)


def _shared_out(result: Node, d: Node, greater_wins: bool) -> Cotangents:
    """maximum and minimum: all to the winner, half each where both are equal (as JAX and PyTorch do)."""
    a, b = result.inputs
    first, second = (b, a) if greater_wins else (a, b)
    half = multiply(d, 0.5)
    to_a = where(equal(a, b), half, where(less(first, second), d, 0.0))
    to_b = where(equal(a, b), half, where(less(first, second), 0.0, d))
    return to_a, to_b


def _max_derivative(result: Node, d: Node) -> Cotangents:
    hit = where(equal(result.inputs[0], result), constant(1.0, UNITS), 0.0)
    return (multiply(divide(d, total(hit)), hit),)


def _erf(x: Any) -> Any:
    x = np.asarray(x)
    wide = np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x
    return wide.astype(x.dtype)


def _sigmoid(x: Any) -> Any:
    with np.errstate(over="ignore", under="ignore"):
        small = np.exp(-np.abs(x))
        return np.where(np.signbit(x), small, np.ones((), np.asarray(x).dtype)) / (1 + small)


def _matmul(matrix: Any, vector: Any) -> Any:
    return vector @ matrix.T if np.ndim(vector) > 1 else matrix @ vector


def _total(x: Any) -> Any:
    return np.sum(x, axis=-1, keepdims=True)


def _greatest(x: Any) -> Any:
    return np.max(x, axis=-1, keepdims=True)


def _compare(symbol: str, word: str, numpy: Callable[..., Any]) -> Operation:
    return Operation(
        _together, numpy, _no_derivative, lambda w, a, b: getattr(w, word)(a, b), symbol, symbol, boolean=True
    )


def _softplus_words(w: Any, x: Any) -> Any:
    """log(1 + exp(x)) without overflow, and with log1p's care where exp(x) is small."""
    small = w.exp(w.negate(w.absolute(x)))
    one = w.constant(1.0)
    sum_ = w.add(one, small)
    careful = w.multiply(w.log(sum_), w.divide(small, w.subtract(sum_, one)))
    return w.add(w.maximum(x, w.constant(0.0)), w.where(w.equal(sum_, one), small, careful))


# fmt: off
TABLE: dict[str, Operation] = {
    "add":      Operation(_together, np.add, _fitted(lambda y, d: (d, d)), lambda w, a, b: w.add(a, b), "{} + {}", "{} + {}"),
    "subtract": Operation(_together, np.subtract, _fitted(lambda y, d: (d, negate(d))), lambda w, a, b: w.subtract(a, b), "{} - {}", "{} - {}"),
    "multiply": Operation(_together, np.multiply, _fitted(lambda y, d: (multiply(d, y.inputs[1]), multiply(d, y.inputs[0]))),
                          lambda w, a, b: w.multiply(a, b), "{} * {}", r"{} \odot {}"),
    "divide":   Operation(_together, np.divide, _fitted(lambda y, d: (divide(d, y.inputs[1]), negate(divide(multiply(d, y), y.inputs[1])))),
                          lambda w, a, b: w.divide(a, b), "{} / {}", r"\frac{{{}}}{{{}}}"),
    "negate":   Operation(_together, np.negative, lambda y, d: (negate(d),), lambda w, a: w.negate(a), "-{}", "-{}"),
    "tanh":     Operation(_together, np.tanh, lambda y, d: (multiply(d, subtract(1.0, multiply(y, y))),),
                          lambda w, a: w.tanh(a), "tanh({})", r"\tanh({})", keep=True),
    "sigmoid":  Operation(_together, _sigmoid, lambda y, d: (multiply(d, multiply(y, subtract(1.0, y))),),
                          lambda w, a: w.sigmoid(a), "sigmoid({})", r"\sigma({})", keep=True),
    "relu":     Operation(_together, lambda x: np.maximum(x, np.zeros((), np.asarray(x).dtype)), lambda y, d: (where(greater(y, 0.0), d, 0.0),),
                          lambda w, a: w.maximum(a, w.constant(0.0)), "relu({})", r"\mathrm{{relu}}({})", keep=True),
    "exp":      Operation(_together, np.exp, lambda y, d: (multiply(d, y),), lambda w, a: w.exp(a), "exp({})", r"\exp({})", keep=True),
    "log":      Operation(_together, np.log, lambda y, d: (divide(d, y.inputs[0]),), lambda w, a: w.log(a), "log({})", r"\log({})", keep=True),
    "sqrt":     Operation(_together, np.sqrt, lambda y, d: (divide(multiply(d, 0.5), y),), lambda w, a: w.sqrt(a), "sqrt({})", r"\sqrt{{{}}}", keep=True),
    "abs":      Operation(_together, np.abs, lambda y, d: (where(greater(y.inputs[0], 0.0), d, where(less(y.inputs[0], 0.0), negate(d), 0.0)),),
                          lambda w, a: w.absolute(a), "abs({})", r"|{}|"),
    "erf":      Operation(_together, _erf, lambda y, d: (multiply(multiply(d, 2.0 / math.sqrt(math.pi)), exp(negate(multiply(y.inputs[0], y.inputs[0])))),),
                          lambda w, a: w.erf(a), "erf({})", r"\mathrm{{erf}}({})", keep=True),
    "softplus": Operation(_together, lambda x: np.logaddexp(x, np.zeros((), np.asarray(x).dtype)), lambda y, d: (multiply(d, sigmoid(y.inputs[0])),),
                          _softplus_words, "softplus({})", r"\mathrm{{softplus}}({})", keep=True),
    "maximum":  Operation(_together, np.maximum, _fitted(lambda y, d: _shared_out(y, d, True)),
                          lambda w, a, b: w.maximum(a, b), "maximum({}, {})", r"\max({}, {})"),
    "minimum":  Operation(_together, np.minimum, _fitted(lambda y, d: _shared_out(y, d, False)),
                          lambda w, a, b: w.minimum(a, b), "minimum({}, {})", r"\min({}, {})"),
    "where":    Operation(_together, np.where, _fitted(lambda y, d: (None, where(y.inputs[0], d, 0.0), where(y.inputs[0], 0.0, d))),
                          lambda w, c, a, b: w.where(c, a, b), "where({}, {}, {})", r"\mathrm{{where}}({}, {}, {})"),
    "less":          _compare("{} < {}", "less", np.less),
    "less_equal":    _compare("{} <= {}", "less_equal", np.less_equal),
    "greater":       _compare("{} > {}", "greater", np.greater),
    "greater_equal": _compare("{} >= {}", "greater_equal", np.greater_equal),
    "equal":         _compare("{} == {}", "equal", np.equal),
    "not_equal":     _compare("{} != {}", "not_equal", np.not_equal),
    "sum":      Operation(_over_units, _total, lambda y, d: (multiply(d, constant(1.0, UNITS)),), None, "sum({})", r"\sum({})", keep=True),
    "max":      Operation(_over_units, _greatest, _max_derivative, None, "max({})", r"\max({})", keep=True),
    "matmul":   Operation(_matrix_times, _matmul, lambda y, d: (None, matmul_transposed(y.inputs[0], d)), None, "{} @ {}", "{} {}", keep=True),
    "matmul_transposed": Operation(_transposed_times, lambda m, v: v @ m, lambda y, d: (None, matmul(y.inputs[0], d)), None,
                                   "{}.T @ {}", r"{}^\top {}", keep=True),
}
# fmt: on
_BROADCASTS = {name for name, row in TABLE.items() if row.dims is _together}

REDUCTIONS = ("sum", "max")
PRODUCTS = ("matmul", "matmul_transposed")


def units_count() -> Node:
    """The number of units, as a value of the step."""
    return leaf("size", "units", dims=SCALAR)


def is_recurrent_kernel(matrix: Node) -> bool:
    """Whether a matrix goes from units to units."""
    return matrix.dims == RECURRENT_KERNEL
