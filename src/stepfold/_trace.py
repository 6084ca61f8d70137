"""Traced values: a step's function is called on them, and its operations become the graph."""

from __future__ import annotations

import math
from typing import Any, Never

import numpy as np

from . import _ops
from ._declared import kind_of
from ._dims import axes_text
from ._errors import error_here, function_error, suggestion, user_location
from ._graph import FEATURES, SCALAR, UNITS, Dims, Node, constant, leaf
from ._lookups import Lookup
from ._operators import Operators
from ._slices import NOT_PROJECTED, indexed, is_projected, value_of

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
"""The operations that NumPy calls for `numpy.float32(2) * h`, where its number stands on the left."""


class Traced(Operators):
    """A value of the step while it is traced: each operation on it returns a traced value with a new node."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def node(self) -> Node:
        """The node that stands for this value."""
        return self._node

    def _operation(self, op: str, *inputs: Any) -> Traced:
        return traced(op, *inputs)

    def __pos__(self) -> Traced:
        return self

    def __pow__(self, exponent: Any) -> Traced:
        return _power(self, exponent)

    def __rpow__(self, base: Any) -> Traced:
        if not isinstance(base, (int, float, np.integer, np.floating)) or base <= 0:
            raise error_here(f"{base!r} ** … needs a number above zero on its left; write exp(…)")
        return traced("exp", traced("multiply", self, math.log(base)))

    def __matmul__(self, other: Any) -> Traced:
        return _matmul(self, other)

    @property
    def T(self) -> Transposed:
        """The transpose of a matrix, which can only be multiplied with a vector: `C.T @ v`."""
        if len(self.node.dims) != 2:
            raise error_here(f"only a matrix has a .T, not a value {axes_text(self.node.dims)}")
        return Transposed(self)

    def __rmatmul__(self, other: Any) -> Traced:
        return _matmul(other, self)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise error_here(
            "a step cannot branch on a value that it computes; "
            "write where(condition, a, b), and &, | and ~ for and, or and not"
        )

    def __getitem__(self, key: object) -> Traced:
        if isinstance(key, Traced) and not isinstance(key, Index):
            raise error_here(
                "parts are by integers that are fixed when the step is traced, such as hyper-parameters, not "
                "by a value of the step; an input that is declared as word: int chooses a row of a parameter"
            )
        return Traced(indexed(value_of(self.node, "[…]"), key))

    def __setitem__(self, key: object, value: object) -> Never:
        raise error_here("a value of the step cannot be changed in place; choose with where(condition, a, b)")

    def __iter__(self) -> Never:
        raise error_here(
            "a step computes all units of a row at once, it cannot iterate over them; use sum, mean or max, "
            "and for parts split(v, 2)"
        )

    def __len__(self) -> int:
        raise error_here(
            "the number of units is not known while a step is traced; use mean for a sum divided by it"
        )

    def __float__(self) -> float:
        raise error_here(
            "a value of the step is not a number while traced; use stepfold's functions (stepfold.tanh, …)"
        )

    def __getattr__(self, name: str) -> Never:
        # an AttributeError, so that hasattr returns False
        raise AttributeError(
            f"{user_location()}: a value of the step has no attribute {name!r}; "
            f"use stepfold's functions ({suggestion(name)})"
        )

    def __array__(self, *arguments: Any, **options: Any) -> Never:
        raise error_here(
            "a value of the step is not an array while traced; use stepfold's functions (stepfold.tanh, …)"
        )

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Never:
        raise function_error("torch", getattr(function, "__name__", "…"))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        for value in inputs:
            _refuse_array(value)
        if method == "__call__" and ufunc in _UFUNCS:
            return traced(_UFUNCS[ufunc], *inputs)
        raise function_error("numpy", ufunc.__name__)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Never:
        raise function_error("numpy", function.__name__)

    def __repr__(self) -> str:
        return f"<{self.node!r}>"


class Index(Traced):
    """An input that is an integer: it chooses a row of a parameter, and no step computes with it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def node(self) -> Node:
        """There is none: CellError, which says what an integer is for."""
        raise error_here(
            f"{self.name} is an integer, which only chooses a row of a parameter, E[{self.name}] with "
            f'E: "vocabulary units"; a number to compute with is declared as {self.name}: Scalar'
        )

    def __index__(self) -> int:
        _ = self.node
        raise AssertionError

    def __repr__(self) -> str:
        return f"<integer {self.name}>"


class Parameter(Traced):
    """A parameter; its axes follow from its first use, or are `declared`."""

    __slots__ = ("declared", "dims", "name", "role", "used")

    def __init__(self, name: str, declared: Dims | None = None) -> None:
        self.name = name
        self.declared = declared
        self.dims: Dims | None = None
        self.used = ""
        self.role = ""

    @property
    def node(self) -> Node:
        """The node of the parameter used elementwise: a vector (units,), or what is declared."""
        return self.elementwise(UNITS)

    def elementwise(self, axes: Dims) -> Node:
        """The node of the parameter used elementwise: what is declared, or else a vector of these axes."""
        dims = axes if len(axes) == 1 else UNITS
        if self.declared is not None:
            dims = self.declared
        elif self.dims is not None and len(self.dims) < 2:
            dims = self.dims
        return self.use(dims, f"elementwise, as {kind_of(dims)}", "elementwise")

    def use(self, dims: Dims, how: str, role: str = "product") -> Node:
        """Return the leaf; the first use fixes the axes and the role, CellError if a later one needs others,
        or if others are declared."""
        if self.declared not in (None, dims):
            raise error_here(
                f"parameter {self.name!r} is declared as {kind_of(self.declared or ())}, but used {how}"
            )
        if self.dims is None:
            self.role = role
            self.dims, self.used = dims, f"{how} (line {user_location().rpartition(':')[2]})"
        elif self.dims != dims or (self.role != role and (len(dims) == 2 or "table" in (self.role, role))):
            raise error_here(
                f"parameter {self.name!r} is used {how}, but before that {self.used}; make it two parameters"
            )
        return leaf("parameter", self.name, dims=dims)

    def __getitem__(self, key: object) -> Traced:
        if not isinstance(key, Index):
            return super().__getitem__(key)
        row = Lookup.of(self.name, key.name)
        if not self.declared:
            raise error_here(
                f"{row.name} is a row of {self.name}, whose axes must be declared: "
                f'{self.name}: "vocabulary units"'
            )
        self.use(self.declared, f"as the table of {row.name}", "table")
        if len(self.declared) == 1:
            return Traced(_ops.sum_over_units(leaf("input", row.name, dims=("1",))))
        return Traced(leaf("input", row.name, dims=self.declared[1:]))

    @property
    def T(self) -> Transposed:
        """The parameter with its axes exchanged: `U.T @ h`."""
        return Transposed(self)

    def __repr__(self) -> str:
        return f"<parameter {self.name}>"


class Transposed:
    """The transpose of a matrix, a parameter or a value, which can only be multiplied with a vector."""

    __slots__ = ("_matrix",)
    __array_ufunc__ = None

    def __init__(self, matrix: Traced) -> None:
        self._matrix = matrix

    @property
    def T(self) -> Traced:
        """The matrix."""
        return self._matrix

    def __matmul__(self, other: Any) -> Traced:
        matrix = self._matrix
        if isinstance(other, (Parameter, Transposed)):
            raise error_here(f"{self!r} @ … multiplies two parameters; do that once, outside the step")
        node = as_node(other)
        if node.boolean or len(node.dims) != 1 or is_projected(node):
            raise error_here(f"{self!r} @ … needs a value (units,) that is no comparison on its right")
        if not isinstance(matrix, Parameter):
            return traced("matvec_transposed", matrix, other)
        known = matrix.declared or matrix.dims or ()
        if matrix.declared is None and known[1:] == FEATURES:
            raise error_here(
                f"{self!r} @ … would have the axes (features,); only a recurrent kernel has a .T"
            )
        dims = (node.dims[0], known[1] if len(known) == 2 else node.dims[0])
        return Traced(_ops.matmul_transposed(matrix.use(dims, f"as {kind_of(dims)}"), node))

    def __getattr__(self, name: str) -> Never:
        raise AttributeError(f"{user_location()}: {self!r} has no attribute {name!r}; write {self!r} @ h")

    def _refuse(self, other: Any = None) -> Never:
        name = repr(self)[:-2]
        raise error_here(
            f"{name}.T can only stand on the left of @; write {name}.T @ h, "
            f"and ({name} - {name}.T) @ h as {name} @ h - {name}.T @ h"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __neg__ = __rmatmul__ = _refuse

    def __repr__(self) -> str:
        return f"{self._matrix.name if isinstance(self._matrix, Parameter) else 'C'}.T"


def as_node(value: Any) -> Node:
    """Return the node of a traced value or of a number; CellError for anything else."""
    if isinstance(value, Traced):
        return value.node
    if isinstance(value, (int, float, np.floating, np.integer)):
        if math.isnan(value):
            raise error_here(
                "NaN cannot be an operand in a step; choose between values with where(condition, a, b)"
            )
        return constant(float(value))
    _refuse_array(value)
    if isinstance(value, Transposed):
        value._refuse()
    raise error_here(
        f"{value!r} ({type(value).__name__}) cannot be an operand in a step; "
        "values of the step and numbers can"
    )


def _refuse_array(value: Any) -> None:
    if isinstance(value, np.ndarray):
        raise error_here(
            f"an array of shape {value.shape} cannot be an operand in a step; "
            "make it a parameter (a keyword-only argument)"
        )


def _axes_beside(inputs: tuple[Any, ...]) -> Dims:
    """The axes of the values that a parameter without declared axes stands beside, else (units,)."""
    dims = [i.node.dims for i in inputs if isinstance(i, Traced) and not isinstance(i, Parameter)]
    dims += [i.declared for i in inputs if isinstance(i, Parameter) and i.declared]
    return next((d for d in dims if d != SCALAR), UNITS)


def traced(op: str, *inputs: Any) -> Traced:
    """Return the traced result of an operation; CellError if its inputs do not fit."""
    beside = _axes_beside(inputs)
    nodes = [i.elementwise(beside) if isinstance(i, Parameter) else as_node(i) for i in inputs]
    for position, node in enumerate(nodes):
        if is_projected(node):
            raise error_here(NOT_PROJECTED)
        if node.boolean and not _ops.takes_condition(op, position):
            raise error_here("a comparison is boolean; use it as the condition of where(condition, a, b)")
    if op == "where" and not nodes[0].boolean:
        raise error_here("where needs a comparison as its condition, where(a > b, …, …)")
    if op in _ops.LOGICAL and not all(node.boolean for node in nodes):
        raise error_here(
            "&, | and ~ join comparisons, and bind more strongly than they; write (a > b) & (c > d)"
        )
    try:
        matrix = next((n.dims for n in nodes if len(n.dims) == 2), None)
        if matrix is not None and op not in _ops.MATRIX_PRODUCTS:
            nodes = [_ops.along(n, matrix) if len(n.dims) == 1 else n for n in nodes]
        return Traced(_ops.apply(op, *nodes))
    except ValueError as error:
        raise error_here(str(error)) from None


def _matmul(matrix: Any, vector: Any) -> Traced:
    _refuse_array(matrix)
    if not isinstance(matrix, Parameter):
        if isinstance(matrix, Traced) and len(matrix.node.dims) == 2:
            return traced("matvec", matrix, vector)
        swapped = "W @ x or U @ h; the dot product of two values is sum(a * b)"
        if isinstance(vector, (Parameter, Transposed)):
            swapped = f"{vector if isinstance(vector, Transposed) else vector.name} @ …"
        raise error_here(f"the left side of @ must be a parameter (a keyword-only argument); write {swapped}")
    if isinstance(vector, Parameter):
        raise error_here(
            f"{matrix.name} @ {vector.name} multiplies two parameters; do that once, outside the step"
        )
    node = as_node(vector)
    if node.boolean:
        raise error_here("a comparison is boolean; use it as the condition of where(condition, a, b)")
    if not node.dims:
        raise error_here(
            f"{matrix.name} @ … needs the input (features,) or a value (units,) on its right, "
            "not a scalar; use a vector parameter times that scalar"
        )
    if len(node.dims) == 2:
        raise error_here(
            f"{matrix.name} @ … needs a vector on its right, not a matrix {axes_text(node.dims)}"
        )
    known = matrix.declared or matrix.dims or ()
    dims = (known[0] if len(known) == 2 else UNITS[0], node.dims[0])
    return Traced(_ops.matmul(matrix.use(dims, f"as {kind_of(dims)}"), node))


def _power(base: Traced, exponent: Any) -> Traced:
    """Small integer powers as products, the square root as itself, others by exp and log (base above 0)."""
    if isinstance(exponent, (int, float, np.integer, np.floating)):
        if float(exponent).is_integer() and abs(float(exponent)) <= 16:
            return _integer_power(base, int(exponent))
        if float(exponent) == 0.5:
            return traced("sqrt", base)
    return traced("exp", traced("multiply", traced("log", base), exponent))


def _integer_power(base: Traced, exponent: int) -> Traced:
    if exponent == 0:
        return Traced(constant(1.0, traced("negate", base).node.dims))
    if exponent < 0:
        return traced("divide", 1.0, _integer_power(base, -exponent))
    if exponent == 1:
        return base
    half = _integer_power(base, exponent // 2)
    square = traced("multiply", half, half)
    return traced("multiply", square, base) if exponent % 2 else square
