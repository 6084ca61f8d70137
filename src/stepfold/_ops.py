"""The table of operations: one row an operation, one column for everything that is known about it.

Adding an operation is adding a row. Derivatives are written in the same operations, so that a derivative can
be derived again. An LLVM lowering calls the methods of a vector builder (`_llvm._vectors.Vectors`), which it
is given, an ONNX lowering those of a graph builder (`onnx._builder.Builder`): the table knows the names of
the methods, not what they write.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _moves, _numpy_ops
from ._dims import (
    axes_text,
    blocks_dims,
    broadcast_dims,
    matmul_dims,
    matmul_transposed_dims,
    moved_dims,
    outer_dims,
    reduction_dims,
    window_dims,
)
from ._graph import SCALAR, Dims, Node, constant, leaf, node
from ._lowerings import (
    ONNX_MOVES,
    lower_relu,
    lower_softplus,
    onnx_matmul,
    onnx_matmul_transposed,
    onnx_matvec,
    onnx_matvec_transposed,
    onnx_not_equal,
    onnx_outer,
)
from ._operation import Cotangents, Operation, Rule
from ._simplify import simplified

# ---- making nodes -----------------------------------------------------------------------------------------


def apply(op: str, *inputs: Node) -> Node:
    """Return the node of an operation on nodes, in its simplest form."""
    row = TABLE[op]
    simpler = simplified(op, inputs, apply)
    if simpler is not None:
        return simpler
    return node(op, inputs, (), row.dims(*(i.dims for i in inputs)), boolean=row.boolean)


def _as_node(value: Node | float) -> Node:
    return value if isinstance(value, Node) else constant(value)


def _function(op: str) -> Callable[..., Node]:
    return lambda *inputs: apply(op, *map(_as_node, inputs))


add, subtract, multiply, divide, negate = map(_function, ("add", "subtract", "multiply", "divide", "negate"))
less, greater, equal, where = map(_function, ("less", "greater", "equal", "where"))
exp, sigmoid, sin, cos, sum_over_units = map(_function, ("exp", "sigmoid", "sin", "cos", "sum"))
matmul, matmul_transposed = map(_function, ("matmul", "matmul_transposed"))
outer, matvec, matvec_transposed = map(_function, ("outer", "matvec", "matvec_transposed"))


def total(value: Node) -> Node:
    """The sum of all elements of a vector or a matrix."""
    return sum_over_units(row_sums(value) if len(value.dims) == 2 else value)


def row_sums(matrix: Node) -> Node:
    """The sum of each row of a matrix."""
    return matvec(matrix, constant(1.0, matrix.dims[1:]))


def column_sums(matrix: Node) -> Node:
    """The sum of each column of a matrix."""
    return matvec_transposed(matrix, constant(1.0, matrix.dims[:1]))


def along(vector: Node, matrix: Dims) -> Node:
    """A vector of one of a matrix's axes, repeated along the other; ValueError where it has neither."""
    rows, columns = matrix
    if vector.dims not in ((rows,), (columns,)) or rows == columns:
        why = "which of both axes it has cannot be told, write outer(…)" if rows == columns else "do not fit"
        raise ValueError(f"a vector {axes_text(vector.dims)} beside a matrix {axes_text(matrix)}: {why}")
    if vector.dims == (rows,):
        return outer(vector, constant(1.0, (columns,)))
    return outer(constant(1.0, (rows,)), vector)


def spread(value: Node, like: Node) -> Node:
    """A scalar with the axes of another value: a vector or matrix of equal elements."""
    return value if value.dims == like.dims else multiply(value, constant(1.0, like.dims))


# ---- derivatives: the cotangents of the inputs from the result y and its cotangent d ----------------------


def _fitted(rule: Rule) -> Rule:
    """Sum a cotangent over all elements where the input is a scalar, which was broadcast."""

    def fit(cotangent: Node | None, like: Node) -> Node | None:
        if cotangent is not None and like.dims == SCALAR and cotangent.dims != SCALAR:
            return total(cotangent)
        return cotangent

    return lambda y, d: tuple(fit(c, i) for c, i in zip(rule(y, d), y.inputs, strict=True))


def _slope(slope: Callable[[Node], Node]) -> Rule:
    """The rule of an operation with one input: the cotangent times a slope computed from the result."""
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
    return _select_rule(y, d, greater(*y.inputs))


@_fitted
def _minimum_rule(y: Node, d: Node) -> Cotangents:
    return _select_rule(y, d, less(*y.inputs))


def _select_rule(y: Node, d: Node, first_wins: Node) -> Cotangents:
    """The selected input gets the cotangent; both get half where they are equal, as in JAX and PyTorch."""
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
    return (multiply(d, constant(1.0, y.inputs[0].dims)),)


def _max_rule(y: Node, d: Node) -> Cotangents:
    """Units that are equal to the maximum get equal shares."""
    hit = where(equal(y.inputs[0], y), constant(1.0, y.inputs[0].dims), 0.0)
    return (multiply(divide(d, sum_over_units(hit)), hit),)


def _matmul_rule(y: Node, d: Node) -> Cotangents:
    """Only of the vector: the cotangent of a matrix is an outer product, which `_gradient` collects."""
    return None, matmul_transposed(y.inputs[0], d)


def _matmul_transposed_rule(y: Node, d: Node) -> Cotangents:
    return None, matmul(y.inputs[0], d)


def _outer_rule(y: Node, d: Node) -> Cotangents:
    left, right = y.inputs
    return matvec(d, right), matvec_transposed(d, left)


def _matvec_rule(y: Node, d: Node) -> Cotangents:
    matrix, vector = y.inputs
    return outer(d, vector), matvec_transposed(matrix, d)


def _matvec_transposed_rule(y: Node, d: Node) -> Cotangents:
    matrix, vector = y.inputs
    return outer(vector, d), matvec(matrix, d)


@_slope
def _exp_rule(y: Node) -> Node:
    return y


@_slope
def _sin_rule(y: Node) -> Node:
    return cos(y.inputs[0])


@_slope
def _cos_rule(y: Node) -> Node:
    return negate(sin(y.inputs[0]))


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


def _row(
    dims: Callable[..., Dims],
    numpy: Callable[..., Any],
    derivative: Rule,
    llvm: str | Callable[..., Any] | None,
    onnx: str | Callable[..., Any],
    text: str,
    latex: str,
    **flags: bool,
) -> Operation:
    """A row; a string for `llvm` names a method of the vector builder, one for `onnx` an operator."""
    return Operation(dims, numpy, derivative, _llvm(llvm), _onnx(onnx), text, latex, **flags)


def _llvm(lowering: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
    return (lambda v, *i: getattr(v, lowering)(*i)) if isinstance(lowering, str) else lowering


def _onnx(lowering: str | Callable[..., Any]) -> Callable[..., Any]:
    return (lambda b, *i: b.operator(lowering, *i)) if isinstance(lowering, str) else lowering


_each = functools.partial(_row, broadcast_dims)
_save = functools.partial(_row, broadcast_dims, save=True)
_comparison = functools.partial(_row, broadcast_dims, boolean=True)
_logical = functools.partial(_row, broadcast_dims, boolean=True)
_reduction = functools.partial(_row, reduction_dims, save=True)
_product = functools.partial(_row, save=True)


def _move(op: str) -> Operation:
    """The row of an operation that moves the elements of a vector."""
    dims = blocks_dims if op in _moves.BLOCKS else window_dims if op in _moves.WINDOWS else moved_dims
    operands = ", ".join(["{}"] * (1 + _moves.takes_offset(op, 1)))
    text, latex = f"{op}({operands})", rf"\text{{{{{op.replace('_', chr(92) + '_')}}}}}({operands})"
    rule, save = _moves.RULES[op], op in _moves.SUMS
    return _row(dims, _numpy_ops.MOVES[op], rule, None, ONNX_MOVES[op], text, latex, save=save)


# fmt: off
TABLE: dict[str, Operation] = {
    # operation     NumPy         derivative       LLVM         ONNX   text         LaTeX
    "add":      _each(np.add,      _add_rule,      "add",      "Add",  "{} + {}",  "{} + {}"),
    "subtract": _each(np.subtract, _subtract_rule, "subtract", "Sub",  "{} - {}",  "{} - {}"),
    "multiply": _each(np.multiply, _multiply_rule, "multiply", "Mul",  "{} * {}",  r"{} \odot {}"),
    "divide":   _each(np.divide,   _divide_rule,   "divide",   "Div",  "{} / {}",  r"\frac{{{}}}{{{}}}"),
    "negate":   _each(np.negative, _negate_rule,   "negate",   "Neg",  "-{}",      "-{}"),
    "abs":      _each(np.abs,      _abs_rule,      "absolute", "Abs",  "abs({})",  "|{}|"),
    "tanh":     _save(np.tanh,     _tanh_rule,     "tanh",     "Tanh", "tanh({})", r"\tanh({})"),
    "exp":      _save(np.exp,      _exp_rule,      "exp",      "Exp",  "exp({})",  r"\exp({})"),
    "log":      _save(np.log,      _log_rule,      "log",      "Log",  "log({})",  r"\log({})"),
    "sqrt":     _save(np.sqrt,     _sqrt_rule,     "sqrt",     "Sqrt", "sqrt({})", r"\sqrt{{{}}}"),
    "floor":    _each(np.floor,    _none,          "floor",    "Floor", "floor({})", r"\lfloor {} \rfloor"),
    "sin":      _save(np.sin,      _sin_rule,      "sin",      "Sin",  "sin({})",  r"\sin({})"),
    "cos":      _save(np.cos,      _cos_rule,      "cos",      "Cos",  "cos({})",  r"\cos({})"),
    "sigmoid": _save(
        _numpy_ops.sigmoid, _sigmoid_rule, "sigmoid", "Sigmoid", "sigmoid({})", r"\sigma({})"),
    "relu": _save(_numpy_ops.relu, _relu_rule, lower_relu, "Relu", "relu({})", r"\text{{relu}}({})"),
    "erf": _save(_numpy_ops.erf, _erf_rule, "erf", "Erf", "erf({})", r"\text{{erf}}({})"),
    "softplus": _save(
        _numpy_ops.softplus, _softplus_rule, lower_softplus, "Softplus", "softplus({})",
        r"\text{{softplus}}({})"),
    "maximum": _each(np.maximum, _maximum_rule, "maximum", "Max", "maximum({}, {})", r"\max({}, {})"),
    "minimum": _each(np.minimum, _minimum_rule, "minimum", "Min", "minimum({}, {})", r"\min({}, {})"),
    "where": _each(
        np.where, _where_rule, "where", "Where", "where({}, {}, {})", r"\text{{where}}({}, {}, {})"),
    "less": _comparison(np.less, _none, "less", "Less", "{} < {}", "{} < {}"),
    "less_equal": _comparison(np.less_equal, _none, "less_equal", "LessOrEqual", "{} <= {}", r"{} \le {}"),
    "greater": _comparison(np.greater, _none, "greater", "Greater", "{} > {}", "{} > {}"),
    "greater_equal": _comparison(
        np.greater_equal, _none, "greater_equal", "GreaterOrEqual", "{} >= {}", r"{} \ge {}"),
    "equal": _comparison(np.equal, _none, "equal", "Equal", "{} == {}", "{} = {}"),
    "not_equal": _comparison(np.not_equal, _none, "not_equal", onnx_not_equal, "{} != {}", r"{} \ne {}"),
    "logical_and": _logical(np.logical_and, _none, "logical_and", "And", "{} & {}", r"{} \land {}"),
    "logical_or": _logical(np.logical_or, _none, "logical_or", "Or", "{} | {}", r"{} \lor {}"),
    "logical_not": _logical(np.logical_not, _none, "logical_not", "Not", "~{}", r"\lnot {}"),
    "sum": _reduction(
        _numpy_ops.sum_over_units, _sum_rule, None, lambda b, x: b.reduction("ReduceSum", x), "sum({})",
        r"\text{{sum}}({})"),
    "max": _reduction(
        _numpy_ops.maximum_over_units, _max_rule, None, lambda b, x: b.reduction("ReduceMax", x), "max({})",
        r"\max({})"),
    "matmul": _product(matmul_dims, _numpy_ops.matmul, _matmul_rule, None, onnx_matmul, "{} @ {}", "{} {}"),
    "matmul_transposed": _product(
        matmul_transposed_dims, _numpy_ops.matmul_transposed, _matmul_transposed_rule, None,
        onnx_matmul_transposed, "{}.T @ {}", r"{}^\top {}"),
    "outer": _row(  # as cheap as a product of two numbers, so not saved
        outer_dims, _numpy_ops.outer, _outer_rule, None, onnx_outer, "outer({}, {})", r"{} {}^\top"),
    "matvec": _product(matmul_dims, _numpy_ops.matvec, _matvec_rule, None, onnx_matvec, "{} @ {}", "{} {}"),
    "matvec_transposed": _product(
        matmul_transposed_dims, _numpy_ops.matvec_transposed, _matvec_transposed_rule, None,
        onnx_matvec_transposed, "{}.T @ {}", r"{}^\top {}"),
    **{op: _move(op) for op in _moves.MOVES},
}
# fmt: on

REDUCTIONS = ("sum", "max")
PRODUCTS = ("matmul", "matmul_transposed")
"""Products of a parameter, the same matrix for every row, with a value of the row."""
MATRIX_PRODUCTS = ("outer", "matvec", "matvec_transposed")
"""Products of values of one row: of two vectors, or of the row's own matrix with a vector."""
LOGICAL = ("logical_and", "logical_or", "logical_not")


def takes_condition(op: str, position: int) -> bool:
    """Whether an input of an operation must be boolean; the others must not."""
    return op in LOGICAL or (op == "where" and position == 0)


def size(axis: str) -> Node:
    """The size of an axis, as a value of the step."""
    return constant(float(axis)) if axis.isdecimal() else leaf("size", axis, dims=SCALAR)


def takes_parameter(op: str, position: int) -> bool:
    """Whether an input of an operation must be a parameter with two axes; others cannot be one."""
    return op in PRODUCTS and position == 0
