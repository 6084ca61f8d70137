"""The one table of operations: a row an operation, and a column for whatever anybody must know of it.

Adding an operation is adding a row. The derivative column is written in the same operations, so that a
derivative can be derived again. `words` writes the operation with a vector-words object (see `_llvm`): the
table knows the words' names, not what they write.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _meaning
from ._graph import RECURRENT_KERNEL, SCALAR, UNITS, Dims, Node, constant, leaf, node
from ._meaning import matrix_times, over_units, together, transposed_times

Cotangents = tuple[Node | None, ...]
Rule = Callable[[Node, Node], Cotangents]


@dataclass(frozen=True)
class Operation:
    """A row of the table.

    `dims` gives the result's axes from the inputs' (or raises ValueError with a reason), `numpy` its meaning
    on arrays whose last axis is the units, `derivative` the cotangents of the inputs from (node, cotangent),
    `words` its instructions (None for what is a loop over units rather than one instruction: products and
    reductions), `text` and `latex` how it is printed, `keep` whether its value is worth keeping for the way
    back rather than computing again.
    """

    dims: Callable[..., Dims]
    numpy: Callable[..., Any]
    derivative: Rule
    words: Callable[..., Any] | None
    text: str
    latex: str
    keep: bool = False
    boolean: bool = False

    @property
    def arity(self) -> int:
        """How many inputs."""
        return self.text.count("{}")


# ---- making nodes -----------------------------------------------------------------------------------------


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


add, subtract, multiply, divide, negate = map(_do, ("add", "subtract", "multiply", "divide", "negate"))
less, greater, equal, where = map(_do, ("less", "greater", "equal", "where"))
exp, sigmoid, total = map(_do, ("exp", "sigmoid", "sum"))
matmul, matmul_transposed = map(_do, ("matmul", "matmul_transposed"))

_FOLD: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
}


def _simplified(op: str, inputs: tuple[Node, ...]) -> Node | None:
    """Return a simpler node of the same value and axes, if a rule knows one; no rule changes NaN or inf."""
    values = [i.attributes[0] if i.op == "constant" else None for i in inputs]
    numbers = [float(v) for v in values if v is not None]
    if op in _FOLD and len(numbers) == len(inputs) and not math.isnan(result := _FOLD[op](*numbers)):
        return constant(result, max((i.dims for i in inputs), key=len))
    if len(inputs) == 2:
        a, b = inputs
        dims = together(a.dims, b.dims) if TABLE[op].dims is together else None
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


# ---- derivatives: from the result y and its cotangent d those of the inputs -------------------------------


def _fitted(rule: Rule) -> Rule:
    """Sum a cotangent over the units where the input was one number for all of them."""

    def fit(cotangent: Node | None, like: Node) -> Node | None:
        if cotangent is not None and like.dims == SCALAR and cotangent.dims == UNITS:
            return total(cotangent)
        return cotangent

    return lambda y, d: tuple(fit(c, i) for c, i in zip(rule(y, d), y.inputs, strict=True))


def _slope(slope: Callable[[Node], Node]) -> Rule:
    """The rule of an operation on one value: its cotangent times a slope that is found from the result."""
    return lambda y, d: (multiply(d, slope(y)),)


def _none(y: Node, d: Node) -> Cotangents:
    return tuple(None for _ in y.inputs)


@_fitted
def _add_rule(y: Node, d: Node) -> Cotangents:
    return d, d


@_fitted
def _subtract_rule(y: Node, d: Node) -> Cotangents:
    return d, negate(d)


@_fitted
def _multiply_rule(y: Node, d: Node) -> Cotangents:
    return multiply(d, y.inputs[1]), multiply(d, y.inputs[0])


@_fitted
def _divide_rule(y: Node, d: Node) -> Cotangents:
    return divide(d, y.inputs[1]), negate(divide(multiply(d, y), y.inputs[1]))


@_fitted
def _where_rule(y: Node, d: Node) -> Cotangents:
    return None, where(y.inputs[0], d, 0.0), where(y.inputs[0], 0.0, d)


@_fitted
def _maximum_rule(y: Node, d: Node) -> Cotangents:
    return _to_winner(y, d, greater(*y.inputs))


@_fitted
def _minimum_rule(y: Node, d: Node) -> Cotangents:
    return _to_winner(y, d, less(*y.inputs))


def _to_winner(y: Node, d: Node, first_wins: Node) -> Cotangents:
    """All to the winner; half each where both are equal (as JAX and PyTorch do)."""
    tie, half = equal(*y.inputs), multiply(d, 0.5)
    return where(tie, half, where(first_wins, d, 0.0)), where(tie, half, where(first_wins, 0.0, d))


def _negate_rule(y: Node, d: Node) -> Cotangents:
    return (negate(d),)


def _abs_rule(y: Node, d: Node) -> Cotangents:
    (x,) = y.inputs
    return (where(greater(x, 0.0), d, where(less(x, 0.0), negate(d), 0.0)),)


def _relu_rule(y: Node, d: Node) -> Cotangents:
    return (where(greater(y, 0.0), d, 0.0),)


def _log_rule(y: Node, d: Node) -> Cotangents:
    return (divide(d, y.inputs[0]),)


def _sqrt_rule(y: Node, d: Node) -> Cotangents:
    return (divide(multiply(d, 0.5), y),)


def _sum_rule(y: Node, d: Node) -> Cotangents:
    return (multiply(d, constant(1.0, UNITS)),)


def _max_rule(y: Node, d: Node) -> Cotangents:
    """Equal shares to all units that reach the maximum."""
    hit = where(equal(y.inputs[0], y), constant(1.0, UNITS), 0.0)
    return (multiply(divide(d, total(hit)), hit),)


def _matmul_rule(y: Node, d: Node) -> Cotangents:
    """The vector's only: a matrix's is an outer product, which `_gradient` collects."""
    return None, matmul_transposed(y.inputs[0], d)


def _transposed_rule(y: Node, d: Node) -> Cotangents:
    return None, matmul(y.inputs[0], d)


@_slope
def _exp_rule(y: Node) -> Node:
    return y


@_slope
def _tanh_rule(y: Node) -> Node:
    return subtract(1.0, multiply(y, y))


@_slope
def _sigmoid_rule(y: Node) -> Node:
    return multiply(y, subtract(1.0, y))


@_slope
def _erf_rule(y: Node) -> Node:
    (x,) = y.inputs
    return multiply(2.0 / math.sqrt(math.pi), exp(negate(multiply(x, x))))


@_slope
def _softplus_rule(y: Node) -> Node:
    return sigmoid(y.inputs[0])


# ---- words: the instructions, where one word does not say it ----------------------------------------------


def _above_zero(w: Any, x: Any) -> Any:
    return w.maximum(x, w.constant(0.0))


def _log1p_exp(w: Any, x: Any) -> Any:
    """log(1 + exp(x)) without overflow, and with log1p's care where exp(x) is small."""
    small = w.exp(w.negate(w.absolute(x)))
    one = w.constant(1.0)
    sum_ = w.add(one, small)
    careful = w.multiply(w.log(sum_), w.divide(small, w.subtract(sum_, one)))
    return w.add(w.maximum(x, w.constant(0.0)), w.where(w.equal(sum_, one), small, careful))


def _row(
    dims: Callable[..., Dims],
    numpy: Callable[..., Any],
    derivative: Rule,
    words: str | Callable[..., Any] | None,
    text: str,
    latex: str,
    **flags: bool,
) -> Operation:
    """A row; a string for `words` is the name of a vector word."""
    if isinstance(words, str):
        said = words
        return Operation(dims, numpy, derivative, lambda w, *i: getattr(w, said)(*i), text, latex, **flags)
    return Operation(dims, numpy, derivative, words, text, latex, **flags)


_each = functools.partial(_row, together)
_kept = functools.partial(_row, together, keep=True)
_comparison = functools.partial(_row, together, boolean=True)
_reduction = functools.partial(_row, over_units, keep=True)
_product = functools.partial(_row, keep=True)

# fmt: off
TABLE: dict[str, Operation] = {
    # operation       NumPy              derivative      words        text            LaTeX
    "add":      _each(np.add,            _add_rule,      "add",       "{} + {}",      "{} + {}"),
    "subtract": _each(np.subtract,       _subtract_rule, "subtract",  "{} - {}",      "{} - {}"),
    "multiply": _each(np.multiply,       _multiply_rule, "multiply",  "{} * {}",      r"{} \odot {}"),
    "divide":   _each(np.divide,         _divide_rule,   "divide",    "{} / {}",      r"\frac{{{}}}{{{}}}"),
    "negate":   _each(np.negative,       _negate_rule,   "negate",    "-{}",          "-{}"),
    "abs":      _each(np.abs,            _abs_rule,      "absolute",  "abs({})",      "|{}|"),
    "tanh":     _kept(np.tanh,           _tanh_rule,     "tanh",      "tanh({})",     r"\tanh({})"),
    "sigmoid":  _kept(_meaning.sigmoid,  _sigmoid_rule,  "sigmoid",   "sigmoid({})",  r"\sigma({})"),
    "relu":     _kept(_meaning.relu,     _relu_rule,     _above_zero, "relu({})",     r"\text{{relu}}({})"),
    "exp":      _kept(np.exp,            _exp_rule,      "exp",       "exp({})",      r"\exp({})"),
    "log":      _kept(np.log,            _log_rule,      "log",       "log({})",      r"\log({})"),
    "sqrt":     _kept(np.sqrt,           _sqrt_rule,     "sqrt",      "sqrt({})",     r"\sqrt{{{}}}"),
    "erf":      _kept(_meaning.erf,      _erf_rule,      "erf",       "erf({})",      r"\text{{erf}}({})"),
    "softplus": _kept(_meaning.softplus, _softplus_rule, _log1p_exp, "softplus({})",r"\text{{softplus}}({})"),
    "maximum": _each(np.maximum, _maximum_rule, "maximum", "maximum({}, {})", r"\max({}, {})"),
    "minimum": _each(np.minimum, _minimum_rule, "minimum", "minimum({}, {})", r"\min({}, {})"),
    "where": _each(np.where, _where_rule, "where", "where({}, {}, {})", r"\text{{where}}({}, {}, {})"),
    "less":          _comparison(np.less,          _none, "less",          "{} < {}",  "{} < {}"),
    "less_equal":    _comparison(np.less_equal,    _none, "less_equal",    "{} <= {}", r"{} \le {}"),
    "greater":       _comparison(np.greater,       _none, "greater",       "{} > {}",  "{} > {}"),
    "greater_equal": _comparison(np.greater_equal, _none, "greater_equal", "{} >= {}", r"{} \ge {}"),
    "equal":         _comparison(np.equal,         _none, "equal",         "{} == {}", "{} = {}"),
    "not_equal":     _comparison(np.not_equal,     _none, "not_equal",     "{} != {}", r"{} \ne {}"),
    "sum":    _reduction(_meaning.total,    _sum_rule, None, "sum({})", r"\text{{sum}}({})"),
    "max":    _reduction(_meaning.greatest, _max_rule, None, "max({})", r"\max({})"),
    "matmul": _product(matrix_times, _meaning.matmul, _matmul_rule, None, "{} @ {}", "{} {}"),
    "matmul_transposed": _product(
        transposed_times, _meaning.matmul_transposed, _transposed_rule, None, "{}.T @ {}", r"{}^\top {}"),
}
# fmt: on

REDUCTIONS = ("sum", "max")
PRODUCTS = ("matmul", "matmul_transposed")


def units_count() -> Node:
    """The number of units, as a value of the step."""
    return leaf("size", "units", dims=SCALAR)


def is_recurrent_kernel(matrix: Node) -> bool:
    """Whether a matrix goes from units to units."""
    return matrix.dims == RECURRENT_KERNEL
