"""`@cell` and `Cell`: a function that computes one timestep is traced and becomes a recurrent cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ._dtype import checked_dtype
from ._errors import CellError, error_here
from ._from_function import Signature, trace
from ._graph import KERNEL, RECURRENT_KERNEL
from ._hyperparameters import replaced
from ._reference import one_step
from ._show import show
from ._step import Step
from ._trace import Traced


class Cell:
    """A recurrent cell: the function that the user wrote, and its graph.

    Call it with NumPy arrays to compute one step: `cell(x, *states, **params)`.
    """

    def __init__(self, step: Step, signature: Signature | None = None) -> None:
        self.step = step
        self._signature = signature
        self.__name__ = self.name = step.name
        self.__doc__ = signature.function.__doc__ if signature is not None else None

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states; the first is also the output."""
        return self.step.states

    @property
    def hyperparameters(self) -> dict[str, bool | int | float]:
        """The hyper-parameters and their values."""
        return dict(self.step.hyperparameters)

    def replace(self, **hyperparameters: bool | int | float) -> Cell:
        """Return the cell with other values of some hyper-parameters: `leaky.replace(alpha=0.3)`.

        The function is traced again, so a value may also decide what the step computes. Raises TypeError for
        a name that is none, ValueError for a value that is no finite number, CellError for a cell that was
        loaded without its function.
        """
        values = replaced(self.name, self.step.hyperparameters, hyperparameters)
        if repr(values) == repr(self.hyperparameters):  # 1, 1.0 and True are not the same in every step
            return self
        if self._signature is None:
            raise CellError(
                f"{self.name} was loaded without its function, its hyper-parameters are fixed; "
                "replace them where it is defined"
            )
        return Cell(trace(self._signature, values, self.step.vectors, self.step.kernels), self._signature)

    __replace__ = replace  # copy.replace

    def __call__(self, *values: Any, **params: Any) -> Any:
        """Compute one step with NumPy: `x` (…, features), states (…, units) → the new states.

        For one row (`x` of one axis) the function itself is called, where there is one, so that a debugger
        can stop in it; many rows are computed from the graph. A call while another cell is traced becomes a
        part of that cell. Hyper-parameters may be given by their names, for this call.
        """
        fixed = {name: params.pop(name) for name in self.step.hyperparameters if name in params}
        if any(isinstance(v, Traced) for v in (*values, *params.values())):
            if self._signature is None:
                raise CellError(
                    f"{self.name} was loaded without its function, it cannot be called in another cell"
                )
            try:
                numbers = replaced(self.name, self.step.hyperparameters, fixed)
            except ValueError as error:
                raise error_here(str(error)) from None
            return self._signature.function(*values, **params, **numbers)
        if fixed:
            return self.replace(**fixed)(*values, **params)
        x, *states = self._checked(values, params)
        arrays = {name: np.asarray(value) for name, value in params.items()}
        if self._signature is not None and x.ndim == 1:
            return self._signature.function(x, *states, **arrays, **self.step.hyperparameters)
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
            params[name] = np.array(value, dtype, order="C")  # of no axes too, unlike ascontiguousarray
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
        fixed = [f"{name}={value!r}" for name, value in self.step.hyperparameters.items()]
        return f"<cell {self.name}({arguments}, *, {', '.join([*self.step.parameters, *fixed])})>"


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
    before, the keyword-only ones are parameters; those with a default are hyper-parameters, numbers that are
    fixed when the step is traced (`Cell.replace`). It returns the new states in the same order; the first is
    also the output. A parameter's shape follows from its use: `W @ x` a kernel (units, features), `U @ h` a
    recurrent kernel (units, units), anything elementwise a vector (units,). `vectors` gives the initial
    values of vector parameters (0 for those not named). `kernels` says how kernels begin, `("identity", a)`
    as a times the identity, `("normal", s)` as normal numbers of the standard deviation s; those not named
    are Glorot-uniform, recurrent ones orthogonal. Raises CellError, which names the line.
    """

    def make(function: Callable[..., Any]) -> Cell:
        signature = Signature.of(function)
        return Cell(trace(signature, signature.hyperparameters, vectors or {}, kernels or {}), signature)

    return make if function is None else make(function)
