"""The values that a step's function works on while it is read as a cell: maths on them becomes the graph."""

from __future__ import annotations

import math
import sys
from types import FrameType
from typing import Any, Never

import numpy as np

from . import _ops
from ._graph import FEATURES, KERNEL, RECURRENT_KERNEL, UNITS, Dims, Node, constant, leaf

_PACKAGE = __name__.partition(".")[0]

_UFUNCS = {
    np.add: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.divide: "divide",
    np.less: "less",
    np.less_equal: "less_equal",
    np.greater: "greater",
    np.greater_equal: "greater_equal",
    np.equal: "equal",
    np.not_equal: "not_equal",
}
"""What NumPy makes of `numpy.float32(2) * h`: the number stands on the left, so NumPy is asked first."""


class CellError(TypeError):
    """A step that cannot be read as a cell; the message names the line, what is wrong and the cure."""


class Traced:
    """A value of the step while it is being read: maths on it becomes the graph."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def node(self) -> Node:
        """The node that stands for this value."""
        return self._node

    def __add__(self, other: Any) -> Traced:
        return traced("add", self, other)

    def __radd__(self, other: Any) -> Traced:
        return traced("add", other, self)

    def __sub__(self, other: Any) -> Traced:
        return traced("subtract", self, other)

    def __rsub__(self, other: Any) -> Traced:
        return traced("subtract", other, self)

    def __mul__(self, other: Any) -> Traced:
        return traced("multiply", self, other)

    def __rmul__(self, other: Any) -> Traced:
        return traced("multiply", other, self)

    def __truediv__(self, other: Any) -> Traced:
        return traced("divide", self, other)

    def __rtruediv__(self, other: Any) -> Traced:
        return traced("divide", other, self)

    def __neg__(self) -> Traced:
        return traced("negate", self)

    def __pos__(self) -> Traced:
        return self

    def __abs__(self) -> Traced:
        return traced("abs", self)

    def __pow__(self, exponent: Any) -> Traced:
        return _power(self, exponent)

    def __rpow__(self, base: Any) -> Traced:
        if not isinstance(base, (int, float, np.integer, np.floating)) or base <= 0:
            raise error_here(f"{base!r} ** … needs a number above zero on its left; write exp(…)")
        return traced("exp", traced("multiply", self, math.log(base)))

    def __matmul__(self, other: Any) -> Traced:
        return _matmul(self, other)

    def __rmatmul__(self, other: Any) -> Traced:
        return _matmul(other, self)

    def __lt__(self, other: Any) -> Traced:
        return traced("less", self, other)

    def __le__(self, other: Any) -> Traced:
        return traced("less_equal", self, other)

    def __gt__(self, other: Any) -> Traced:
        return traced("greater", self, other)

    def __ge__(self, other: Any) -> Traced:
        return traced("greater_equal", self, other)

    def __eq__(self, other: object) -> Traced:  # type: ignore[override]
        return traced("equal", self, other)

    def __ne__(self, other: object) -> Traced:  # type: ignore[override]
        return traced("not_equal", self, other)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise error_here("a step cannot branch on a value that it computes; write where(condition, a, b)")

    def __getitem__(self, key: object) -> Never:
        raise error_here(
            "a step works on whole rows, it cannot take parts of a value; use another parameter or state"
        )

    def __iter__(self) -> Never:
        raise error_here("a step works on whole rows, it cannot go through the units one by one")

    def __len__(self) -> int:
        raise error_here("the number of units is not known while a step is read; mean and sum know it")

    def __float__(self) -> float:
        raise error_here(
            "a value of the step is not a number yet; use stepfold's own words (stepfold.tanh, …)"
        )

    def __getattr__(self, name: str) -> Never:
        # an AttributeError, so that hasattr stays a question
        raise AttributeError(
            f"{where_user_wrote()}: a value of the step has no attribute {name!r}; "
            f"use stepfold's own words ({_word(name)})"
        )

    def __array__(self, *arguments: Any, **options: Any) -> Never:
        raise error_here("a value of the step is no array yet; use stepfold's own words (stepfold.tanh, …)")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        for value in inputs:
            _refuse_array(value)
        if method == "__call__" and ufunc in _UFUNCS:
            return traced(_UFUNCS[ufunc], *inputs)
        raise _no_numpy(ufunc.__name__)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Never:
        raise _no_numpy(function.__name__)

    def __repr__(self) -> str:
        return f"<{self.node!r}>"


class Parameter(Traced):
    """A parameter, whose axes are found from its first use."""

    __slots__ = ("dims", "name", "used")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dims: Dims | None = None
        self.used = ""

    @property
    def node(self) -> Node:
        """The node of the parameter used as a vector."""
        return self.use(UNITS, "elementwise, as a vector (units,)")

    def use(self, dims: Dims, how: str) -> Node:
        """Fix the axes at the first use; a second use must agree."""
        if self.dims is None:
            self.dims, self.used = dims, f"{how} (line {where_user_wrote().rpartition(':')[2]})"
        elif self.dims != dims:
            raise error_here(
                f"parameter {self.name!r} is used {how}, but before that {self.used}; make it two parameters"
            )
        return leaf("parameter", self.name, dims=dims)

    def __repr__(self) -> str:
        return f"<parameter {self.name}>"


def where_user_wrote() -> str:
    """The user's own line, file:line: the innermost frame outside this package, or in one of its cells."""
    frame: FrameType = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ours(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == _PACKAGE and not module.startswith(f"{_PACKAGE}.cells")


def error_here(text: str) -> CellError:
    """Return the error that begins with the user's line."""
    return CellError(f"{where_user_wrote()}: {text}")


def _word(name: str) -> str:
    """The word of the language that somebody who wrote `name` meant, as far as we can tell."""
    public = sys.modules[_PACKAGE]
    name = {"absolute": "abs", "fabs": "abs", "amax": "max", "add": "+", "matmul": "@", "dot": "@"}.get(
        name, name
    )
    if name in ("+", "@"):
        return name
    return f"stepfold.{name}" if name in getattr(public, "__all__", ()) else "stepfold.tanh, …"


def _no_numpy(name: str) -> CellError:
    return error_here(
        f"numpy.{name} cannot read a value of the step; use stepfold's own words ({_word(name)})"
    )


def as_node(value: Any) -> Node:
    """Return the node of a traced value or of a number."""
    if isinstance(value, Traced):
        return value.node
    if isinstance(value, (int, float, np.floating, np.integer)):
        if math.isnan(value):
            raise error_here("NaN cannot stand in a step; where(condition, a, b) keeps a value from use")
        return constant(float(value))
    _refuse_array(value)
    raise error_here(
        f"{value!r} ({type(value).__name__}) cannot stand in a step; maths takes values and numbers"
    )


def _refuse_array(value: Any) -> None:
    if isinstance(value, np.ndarray):
        raise error_here(
            f"an array of shape {value.shape} cannot stand in a step; "
            "make it a parameter (a keyword-only argument)"
        )


def traced(op: str, *inputs: Any) -> Traced:
    """Return the traced result of an operation; CellError if its inputs do not fit."""
    nodes = [as_node(i) for i in inputs]
    for position, node in enumerate(nodes):
        if node.op == "input":
            raise error_here("the input has features, not units; project it first with a kernel, W @ x")
        if node.boolean and not (op == "where" and position == 0):
            raise error_here("a comparison is no number; use it as where(condition, a, b)")
    if op == "where" and not nodes[0].boolean:
        raise error_here("where needs a comparison as its condition, where(a > b, …, …)")
    try:
        return Traced(_ops.apply(op, *nodes))
    except ValueError as error:
        raise error_here(str(error)) from None


def _matmul(matrix: Any, vector: Any) -> Traced:
    _refuse_array(matrix)
    if not isinstance(matrix, Parameter):
        turned = f"{vector.name} @ …" if isinstance(vector, Parameter) else "W @ x or U @ h"
        raise error_here(f"the left side of @ must be a parameter (a keyword-only argument); write {turned}")
    if isinstance(vector, Parameter):
        raise error_here(
            f"{matrix.name} @ {vector.name} multiplies two parameters; do that once, outside the step"
        )
    node = as_node(vector)
    if node.boolean:
        raise error_here("a comparison is no number; use it as where(condition, a, b)")
    if node.dims == FEATURES:
        kernel = matrix.use(KERNEL, "as a kernel (units, features)")
    elif node.dims == UNITS:
        kernel = matrix.use(RECURRENT_KERNEL, "as a recurrent kernel (units, units)")
    else:
        raise error_here(
            f"{matrix.name} @ … needs the input (features,) or a row of units (units,) on its right, "
            "not one number; use a vector parameter times that number"
        )
    return Traced(_ops.matmul(kernel, node))


def _power(base: Traced, exponent: Any) -> Traced:
    """Small whole powers as products, the square root as itself, others by exp and log (base above 0)."""
    if isinstance(exponent, (int, float, np.integer, np.floating)):
        if float(exponent).is_integer() and abs(float(exponent)) <= 16:
            return _whole_power(base, int(exponent))
        if float(exponent) == 0.5:
            return traced("sqrt", base)
    return traced("exp", traced("multiply", traced("log", base), exponent))


def _whole_power(base: Traced, exponent: int) -> Traced:
    if exponent == 0:
        return Traced(constant(1.0, traced("negate", base).node.dims))
    if exponent < 0:
        return 1.0 / _whole_power(base, -exponent)
    if exponent == 1:
        return base
    half = _whole_power(base, exponent // 2)
    return half * half * base if exponent % 2 else half * half
