"""`@cell` and `Cell`: a function that computes one timestep is traced and becomes a recurrent cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from . import _ops
from ._dtype import checked_dtype
from ._errors import CellError
from ._graph import FEATURES, KERNEL, RECURRENT_KERNEL, SCALAR, UNITS, Node, constant, leaf
from ._reference import one_step
from ._show import show
from ._step import Step
from ._step_json import checked_kernels
from ._trace import Parameter, Traced, as_node


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
        """Compute one step with NumPy: `x` (…, features), states (…, units) → the new states.

        For one row (`x` of one axis) the function itself is called, where there is one, so that a debugger
        can stop in it; many rows are computed from the graph. A call while another cell is traced becomes a
        part of that cell.
        """
        if any(isinstance(v, Traced) for v in (*values, *params.values())):
            if self._function is None:
                raise CellError(
                    f"{self.name} was loaded without its function, it cannot be called in another cell"
                )
            return self._function(*values, **params)
        x, *states = self._checked(values, params)
        arrays = {name: np.asarray(value) for name, value in params.items()}
        if self._function is not None and x.ndim == 1:
            return self._function(x, *states, **arrays)
        new = tuple(np.array(value) for value in one_step(self.step, x, states, arrays))
        return new if len(new) > 1 else new[0]

    def _checked(self, values: tuple[Any, ...], params: Mapping[str, Any]) -> list[NDArray[Any]]:
        expected = ("x", *self.states)
        if len(values) != len(expected):
            raise TypeError(
                f"{self.name} takes {', '.join(expected)} before its parameters, got {len(values)} arrays"
            )
        arrays = [np.asarray(v, None if np.asarray(v).dtype.kind == "f" else np.float64) for v in values]
        if any(a.ndim == 0 for a in arrays):
            raise ValueError(
                f"{self.name}: {', '.join(expected)} must be arrays (…, features) and (…, units), not scalars"
            )
        rows, units = arrays[0].shape[:-1], arrays[1].shape[-1]
        for name, array in zip(self.states, arrays[1:], strict=True):
            if array.shape != (*rows, units):
                raise ValueError(
                    f"{self.name}: state {name} has shape {array.shape}, expected {(*rows, units)}"
                )
        shapes = self.parameter_shapes(features=max(1, arrays[0].shape[-1]), units=max(1, units))
        if params.keys() != shapes.keys():
            missing, unknown = sorted(shapes.keys() - params.keys()), sorted(params.keys() - shapes.keys())
            wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has no {', '.join(unknown)}"] * bool(
                unknown
            )
            raise TypeError(f"{self.name} {' and '.join(wrong)}; its parameters are {', '.join(shapes)}")
        for name, shape in shapes.items():
            if np.shape(params[name]) != shape:
                raise ValueError(
                    f"{self.name}: parameter {name} has shape {np.shape(params[name])}, expected {shape}"
                )
        return arrays

    def parameter_shapes(self, *, features: int, units: int) -> dict[str, tuple[int, ...]]:
        """Return each parameter's name and shape."""
        return self.step.parameter_shapes(features=features, units=units)

    def init(
        self, features: int, units: int, *, seed: int | None = None, dtype: Any = np.float32
    ) -> dict[str, NDArray[Any]]:
        """Return initial parameters for training.

        Kernels are Glorot-uniform (Glorot & Bengio 2010), recurrent kernels orthogonal (Saxe et al. 2014),
        vectors zero, unless the cell says otherwise (`@cell(vectors={"b_f": 1.0})`, `@cell(kernels=…)`).
        """
        dtype = checked_dtype(dtype)
        random = np.random.default_rng(seed)
        params = {}
        for name, shape in self.parameter_shapes(features=features, units=units).items():
            dims = self.step.parameters[name]
            kind, number = self.step.kernels.get(name, ("", 0.0))
            if kind == "identity":
                value = number * np.eye(units)
            elif kind == "normal":
                value = random.normal(0.0, number, shape)
            elif dims == KERNEL:
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

        `what` is "maths" (equations, sizes, what is computed outside the time loop, residuals), "latex",
        "graph" (Mermaid), "gradient" (the derived backward step), "llvm" or "asm" (the code; options `units`,
        `dtype`, `target`, `kernel`).
        """
        return show(self.step, self.__doc__ or "", what, **options)

    def to_json(self) -> str:
        """Return the cell's graph as JSON text, without code."""
        return self.step.to_json()

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """Return the cell that `to_json` wrote, without running code of it; ValueError for any other text."""
        step = Step.from_json(text)
        for n in step.nodes:
            if n.op in ("row_input", "step_input"):
                raise ValueError(
                    f"this is not a saved cell: it needs {n.attributes[0]!r}, which only a layer provides"
                )
        return cls(step)

    def __reduce__(self) -> tuple[object, ...]:
        # pickle cannot find the decorated function, whose name in its module is that of the cell
        return Cell.from_json, (self.to_json(),)

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo: object) -> Cell:
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.step)

    def __repr__(self) -> str:
        arguments = ", ".join(["x", *self.states])
        return f"<cell {self.name}({arguments}, *, {', '.join(self.step.parameters)})>"


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...
@overload
def cell(
    *, vectors: Mapping[str, float] = ..., kernels: Mapping[str, tuple[str, float]] = ...
) -> Callable[[Callable[..., Any]], Cell]: ...
def cell(
    function: Callable[..., Any] | None = None,
    /,
    *,
    vectors: Mapping[str, float] | None = None,
    kernels: Mapping[str, tuple[str, float]] | None = None,
) -> Any:
    """Return a recurrent cell from a function that computes one timestep.

    The first argument is this timestep's input, the other positional ones are the states of the timestep
    before, the keyword-only ones are parameters. It returns the new states in the same order; the first is
    also the output. A parameter's shape follows from its use: `W @ x` a kernel (units, features), `U @ h` a
    recurrent kernel (units, units), anything elementwise a vector (units,). `vectors` gives the initial
    values of vector parameters (0 for those not named). `kernels` says how kernels begin, `("identity", a)`
    as a times the identity, `("normal", s)` as normal numbers of the standard deviation s; those not named
    are Glorot-uniform, recurrent ones orthogonal. Raises CellError, which names the line.
    """

    def make(function: Callable[..., Any]) -> Cell:
        return Cell(_trace(function, dict(vectors or {}), kernels or {}), function)

    return make if function is None else make(function)


def _trace(
    function: Callable[..., Any], vectors: dict[str, float], kernels: Mapping[str, tuple[str, float]]
) -> Step:
    """Call the function once on traced values and return the step that it computes."""
    if not inspect.isfunction(function):
        raise CellError(
            f"@cell takes a function that computes one timestep, not {function!r}; write def step(x, h, *, …)"
        )
    where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    name = function.__name__
    states, names = _arguments(function, where)
    parameters = {parameter: Parameter(parameter) for parameter in names}
    values = [Traced(leaf("input", dims=FEATURES)), *(Traced(leaf("state", s)) for s in states)]
    result = function(*values, **parameters)
    new = list(result) if isinstance(result, (tuple, list)) else [result]
    if len(new) != len(states):
        raise CellError(
            f"{where}: {name} has {_count(states, 'state')} but returns {len(new)}; "
            "return the new states, as many and in the same order"
        )
    outputs = tuple(_new_state(state, value, where) for state, value in zip(states, new, strict=True))
    unused = [parameter for parameter, value in parameters.items() if value.dims is None]
    if unused:
        raise CellError(
            f"{where}: {name} never uses {_count(unused, 'parameter')}; remove what is not needed"
        )
    dims = {parameter: value.dims or UNITS for parameter, value in parameters.items()}
    wrong = [vector for vector in vectors if dims.get(vector) != UNITS]
    if wrong:
        vector_names = ", ".join(n for n, d in dims.items() if d == UNITS) or "none"
        raise CellError(
            f"{where}: vectors= names {', '.join(wrong)}, "
            f"but the vector parameters of {name} are {vector_names}"
        )
    start = {vector: float(value) for vector, value in vectors.items()}
    try:
        return Step(name, tuple(states), dims, outputs, start, checked_kernels(kernels, dims))
    except ValueError as error:
        raise CellError(f"{where}: {error}") from None


def _arguments(function: Callable[..., Any], where: str) -> tuple[list[str], list[str]]:
    """The names of the states and of the parameters."""
    arguments = inspect.signature(function).parameters.values()
    if any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments):
        raise CellError(f"{where}: a cell names its arguments one by one, without *args and **kwargs")
    for a in arguments:
        if a.default is not a.empty:
            raise CellError(
                f"{where}: argument {a.name} has a default, but every argument is an array; "
                "write the constant in the step"
            )
    positional = [a.name for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2:
        raise CellError(
            f"{where}: a cell takes the input and at least one state; write {function.__name__}(x, h, *, …), "
            "parameters after the *"
        )
    return positional[1:], [a.name for a in arguments if a.kind == a.KEYWORD_ONLY]


def _new_state(state: str, value: Any, where: str) -> Node:
    """The node of a new state; a per-row scalar is broadcast over the units."""
    if value is None:
        raise CellError(
            f"{where}: the new state {state!r} is None; end the step with return and the new states"
        )
    if isinstance(value, Traced) and value.node.op == "input":
        raise CellError(
            f"{where}: the new state {state!r} has the axes (features,), expected (units,); project it, W @ x"
        )
    node = as_node(value)
    if node.boolean:
        raise CellError(
            f"{where}: the new state {state!r} is a comparison, which is boolean; use where(condition, a, b)"
        )
    return _ops.multiply(node, constant(1.0, UNITS)) if node.dims == SCALAR else node


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({', '.join(names)})"
