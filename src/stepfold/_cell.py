"""`@cell`: from a function that computes one timestep to its graph."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _ops
from ._graph import FEATURES, KERNEL, RECURRENT_KERNEL, SCALAR, UNITS, Dims, Node, constant, leaf
from ._reference import one_step
from ._step import Step


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
        return traced("exp", traced("multiply", self, float(np.log(base))))

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
        raise _error("a step cannot branch on a value that it computes; write where(condition, a, b)")

    def __getitem__(self, key: object) -> Traced:
        raise _error("a step works on whole rows, it cannot take parts of a value; use another parameter or state")

    def __iter__(self) -> Any:
        raise _error("a step works on whole rows, it cannot go through the units one by one")

    def __len__(self) -> int:
        raise _error("the number of units is not known while a step is read; mean and sum know it")

    def __float__(self) -> float:
        raise _error("a value of the step is not a number yet; use stepfold's own words (stepfold.tanh, …)")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        raise _error(f"numpy.{ufunc.__name__} cannot read a value of the step; use stepfold's own words (stepfold.tanh, …)")

    def __repr__(self) -> str:
        return f"<{self.node!r}>"


class _Parameter(Traced):
    """A parameter, whose axes are found from its first use."""

    __slots__ = ("dims", "name", "used")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dims: Dims | None = None
        self.used = ""

    @property
    def node(self) -> Node:
        return self.use(UNITS, "elementwise, as a vector (units,)")

    def use(self, dims: Dims, how: str) -> Node:
        """Fix the axes at the first use; a second use must agree."""
        if self.dims is None:
            self.dims, self.used = dims, how
        elif self.dims != dims:
            raise _error(
                f"parameter {self.name!r} is used {how}, but before that {self.used}; make it two parameters"
            )
        return leaf("parameter", self.name, dims=dims)


def _where_user_wrote() -> str:
    """The user's own line: the innermost frame that is not in this package."""
    frame = sys._getframe(1)
    here = __name__.rpartition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == here.split(".")[0]:
        if ".cells" in frame.f_globals["__name__"]:
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _error(text: str) -> CellError:
    return CellError(f"{_where_user_wrote()}: {text}")


def as_node(value: Any) -> Node:
    """Return the node of a traced value or of a number."""
    if isinstance(value, Traced):
        return value.node
    if isinstance(value, (int, float, np.floating, np.integer)):
        return constant(float(value))
    raise _error(f"{type(value).__name__} cannot stand in a step: give arrays as parameters (keyword-only arguments)")


def traced(op: str, *inputs: Any) -> Traced:
    """Return the traced result of an operation."""
    nodes = [as_node(i) for i in inputs]
    for value, node in zip(inputs, nodes, strict=True):
        if node.op == "input":
            raise _error("the input has its features, not units: project it first, with a kernel, W @ x")
        if node.boolean and not (op == "where" and value is inputs[0]):
            raise _error("a comparison is no number; use it as where(condition, a, b)")
    if op == "where" and not nodes[0].boolean:
        raise _error("where needs a comparison as its condition, where(a > b, …, …)")
    try:
        return Traced(_ops.apply(op, *nodes))
    except ValueError as error:
        raise _error(str(error)) from None


def _matmul(matrix: Any, vector: Any) -> Traced:
    if not isinstance(matrix, _Parameter):
        raise _error("the left side of @ must be a parameter (a keyword-only argument): write W @ x or U @ h")
    if isinstance(vector, _Parameter):
        raise _error(f"{matrix.name} @ {vector.name} multiplies two parameters; do that once, outside the step")
    node = as_node(vector)
    if node.dims == FEATURES:
        kernel = matrix.use(KERNEL, "as a kernel (units, features)")
    elif node.dims == UNITS:
        kernel = matrix.use(RECURRENT_KERNEL, "as a recurrent kernel (units, units)")
    else:
        raise _error(f"{matrix.name} @ … needs a row of features or units on its right, not one number")
    return Traced(_ops.matmul(kernel, node))


def _power(base: Traced, exponent: Any) -> Traced:
    if isinstance(exponent, (int, float)) and float(exponent).is_integer() and -16 <= exponent <= 16:
        result: Any = 1.0
        for _ in range(int(np.abs(exponent))):
            result = base * result
        return result if exponent > 0 else 1.0 / result if exponent < 0 else base * 0.0 + 1.0
    if exponent == 0.5:
        return traced("sqrt", base)
    return traced("exp", traced("multiply", traced("log", base), exponent))


class Cell:
    """A recurrent cell: the function that the user wrote, and its graph.

    Call it with NumPy arrays to compute one step: `cell(x, *states, **params)`.
    """

    def __init__(self, step: Step, function: Callable[..., Any] | None = None) -> None:
        self.step = step
        self._function = function
        self.__name__ = self.name = step.name
        self.__doc__ = function.__doc__ if function is not None else None

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states; the first is also the output."""
        return self.step.states

    def __call__(self, *values: Any, **params: Any) -> Any:
        """Compute one step with NumPy: `x` (…, features), states (…, units) → the new states, as the function returns them."""
        if self._function is not None:
            return self._function(*values, **params)
        new = one_step(self.step, values[0], list(values[1:]), params)
        return new if len(new) > 1 else new[0]

    def parameter_shapes(self, *, features: int, units: int) -> dict[str, tuple[int, ...]]:
        """Return each parameter's name and shape."""
        for name, size in (("features", features), ("units", units)):
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {size!r}")
        sizes = {"features": int(features), "units": int(units)}
        return {name: tuple(sizes[d] for d in dims) for name, dims in self.step.parameters.items()}

    def init(
        self, features: int, units: int, *, seed: int | None = None, dtype: Any = np.float32
    ) -> dict[str, NDArray[Any]]:
        """Return parameters to begin training with.

        Kernels are Glorot-uniform (Glorot & Bengio 2010), recurrent kernels orthogonal (Saxe et al. 2014), vectors
        zero unless the cell says otherwise (`@cell(vectors={"b_f": 1.0})`).
        """
        dtype = checked_dtype(dtype)
        random = np.random.default_rng(seed)
        params = {}
        for name, shape in self.parameter_shapes(features=features, units=units).items():
            dims = self.step.parameters[name]
            if dims == KERNEL:
                limit = np.sqrt(6.0 / (shape[0] + shape[1]))
                value = random.uniform(-limit, limit, shape)
            elif dims == RECURRENT_KERNEL:
                q, r = np.linalg.qr(random.standard_normal(shape))
                value = q * np.sign(np.diag(r))
            else:
                value = np.full(shape, self.step.vectors.get(name, 0.0))
            params[name] = np.ascontiguousarray(value, dtype=dtype)
        return params

    def show(self, what: str = "maths", **options: Any) -> str:
        """Return a view of the cell as text.

        `what` is "maths" (equations, sizes, what leaves the loop, what is kept), "latex", "graph" (Mermaid), "gradient"
        (the derived backward step), "llvm" or "asm" (the code; options `units`, `dtype`, `target`, `kernel`).
        """
        from ._show import show  # the views know the compiler, which knows cells

        return show(self, what, **options)

    def to_json(self) -> str:
        """Return the cell as data: its graph, no code."""
        return self.step.to_json()

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """Return the cell that `to_json` wrote; nobody's code is run. ValueError if the text is not such a cell."""
        return cls(Step.from_json(text))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.step == other.step

    def __hash__(self) -> int:
        return hash(self.step)

    def __repr__(self) -> str:
        arguments = ", ".join(["x", *self.states])
        return f"<cell {self.name}({arguments}, *, {', '.join(self.step.parameters)})>"


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype; TypeError for anything else."""
    found = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, not {found.name}; convert the arrays with .astype('float32')")
    return found


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...
@overload
def cell(*, vectors: Mapping[str, float] = ...) -> Callable[[Callable[..., Any]], Cell]: ...
def cell(function: Callable[..., Any] | None = None, /, *, vectors: Mapping[str, float] | None = None) -> Any:
    """Make a recurrent cell of a function that computes one timestep.

    The first argument is this timestep's input, the other positional ones are the states of the timestep before, the
    keyword-only ones are parameters. It returns the new states in the same order; the first is also the output. A
    parameter's shape follows from its use: `W @ x` a kernel (units, features), `U @ h` a recurrent kernel
    (units, units), anything elementwise a vector (units,). `vectors` gives what vector parameters start from in `init`
    (0 for those not named). Raises CellError, which names the line.
    """

    def make(function: Callable[..., Any]) -> Cell:
        return Cell(_trace(function, dict(vectors or {})), function)

    return make if function is None else make(function)


def _trace(function: Callable[..., Any], vectors: dict[str, float]) -> Step:
    code = function.__code__
    where = f"{code.co_filename}:{code.co_firstlineno}"
    arguments = inspect.signature(function).parameters.values()
    positional = [a.name for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    names = [a.name for a in arguments if a.kind == a.KEYWORD_ONLY]
    if any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments):
        raise CellError(f"{where}: a cell names its arguments one by one, without * and ** collections")
    if len(positional) < 2:
        raise CellError(f"{where}: a cell takes the input and at least one state, {function.__name__}(x, h, *, …)")
    states = positional[1:]
    parameters = {name: _Parameter(name) for name in names}
    values = [Traced(leaf("input", dims=FEATURES)), *(Traced(leaf("state", s)) for s in states)]
    result = function(*values, **parameters)
    new = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(new) != len(states):
        raise CellError(
            f"{where}: {function.__name__} has {len(states)} state(s) ({', '.join(states)}) but returns {len(new)} "
            "value(s); return the new states in the same order"
        )
    outputs = []
    for state, value in zip(states, new, strict=True):
        node = as_node(value)
        if node.dims == SCALAR and not node.boolean:
            node = _ops.multiply(node, constant(1.0, UNITS))
        if node.dims != UNITS or node.boolean:
            raise CellError(f"{where}: the new state {state!r} must have the axis units, not {'×'.join(node.dims)}")
        outputs.append(node)
    unused = [name for name, parameter in parameters.items() if parameter.dims is None]
    if unused:
        raise CellError(f"{where}: parameter(s) {', '.join(unused)} of {function.__name__} are never used; remove them")
    unknown = [n for n in vectors if n not in parameters or parameters[n].dims != UNITS]
    if unknown:
        raise CellError(f"{where}: vectors= names {', '.join(unknown)}, no vector parameter of {function.__name__}")
    dims = {name: parameter.dims or UNITS for name, parameter in parameters.items()}
    return Step(function.__name__, tuple(states), dims, tuple(outputs), vectors)
