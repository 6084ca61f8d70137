"""`@cell` and `Cell`: a function that computes one timestep is traced and becomes a recurrent cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ._dtype import checked_dtype
from ._errors import CellError, error_here
from ._from_function import Signature, trace
from ._hyperparameters import replaced
from ._initial import legendre
from ._lookups import START
from ._one_step import checked_values
from ._parts import known_sizes
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
        """The names of the states; the first is also the output, unless the step returns one besides."""
        return self.step.states[self.step.output :]

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
        return Cell(trace(self._signature, values), self._signature)

    __replace__ = replace  # copy.replace

    def __call__(self, *values: Any, **params: Any) -> Any:
        """Compute one step with NumPy: `x` (…, features), states (…, units), or as they declare → the new
        states, before them the output if that is no state.

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
        given = checked_values(self.step, values, params)
        arrays = {name: np.asarray(value) for name, value in params.items()}
        # sum and mean of the language cannot tell a matrix from rows of vectors, the graph can
        vectors = all(len(self.step.dims_of(s)) == 1 for s in self.step.states)
        if self._signature is not None and not given.rows and vectors:
            inputs = [int(v) if i in self.step.integers else v for i, v in given.inputs.items()]
            with known_sizes(given.sizes):
                return self._signature.function(*inputs, *given.states, **arrays, **self.step.hyperparameters)
        new = given.compute(self.step, arrays)
        return new if len(new) > 1 else new[0]

    def parameter_shapes(self, *, features: int, units: int, **sizes: int) -> dict[str, tuple[int, ...]]:
        """Return each parameter's name and shape; `sizes`: those of the axes that the cell has besides."""
        return self.step.parameter_shapes(features=features, units=units, **sizes)

    def init(
        self,
        features: int,
        units: int,
        *,
        seed: int | None = None,
        dtype: Any = np.float32,
        **sizes: int,
    ) -> dict[str, NDArray[Any]]:
        """Return initial parameters for training; `sizes`: those of the axes that the cell has besides.

        Kernels and other rectangular matrices are Glorot-uniform (Glorot & Bengio 2010), recurrent kernels
        orthogonal (Saxe et al. 2014), tables of which integers choose rows uniform within ±0.05, vectors
        zero, unless the cell says otherwise
        (`@cell(vectors={"b_f": 1.0})`, `@cell(kernels=…)`).
        """
        dtype = checked_dtype(dtype)
        random = np.random.default_rng(seed)
        params = {}
        for name, shape in self.parameter_shapes(features=features, units=units, **sizes).items():
            dims = self.step.parameters[name]
            kind, number = self.step.kernels.get(name, ("", 0.0))
            if kind == "identity":
                value = number * np.eye(shape[0])
            elif kind == "normal":
                value = random.normal(0.0, number, shape)
            elif kind == "legendre":
                value = legendre(shape[0], number, square=dims[0] == dims[1])
            elif name in self.step.tables and len(dims) == 2:
                value = random.uniform(-START, START, shape)
            elif name not in self.step.matrices:
                value = np.full(shape, self.step.vectors.get(name, 0.0))
            elif dims[0] != dims[1]:
                limit = np.sqrt(6.0 / (shape[0] + shape[1]))
                value = random.uniform(-limit, limit, shape)
            else:
                q, r = np.linalg.qr(random.standard_normal(shape))
                value = q * np.sign(np.diag(r))
            params[name] = np.array(value, dtype, order="C")  # of no axes too, unlike ascontiguousarray
        return params

    def show(self, what: str = "maths", **options: Any) -> str:
        """Return a view of the cell as text.

        `what` is "maths" (equations, sizes, what is computed outside the time loop, residuals), "latex",
        "graph" (Mermaid), "gradient" (the derived backward step), "llvm" or "asm" (the code; options `units`,
        the cell's other axes, `dtype`, `target`, `kernel`).
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
        rows = [name for name in step.inputs if not name.isidentifier()]
        if rows:
            raise ValueError(f"this is not a saved cell: its input {rows[0]!r} has no Python name")
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
        inputs = self.step.input_names
        arguments = ", ".join([*inputs, *["/"] * (len(inputs) > 1), *self.states])
        fixed = [f"{name}={value!r}" for name, value in self.step.hyperparameters.items()]
        named = [*self.step.parameters, *fixed]
        return f"<cell {self.name}({', '.join([arguments, *['*'] * bool(named), *named])})>"


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...
@overload
def cell(
    *, vectors: Mapping[str, float] = ..., kernels: Mapping[str, tuple[str, float | str]] = ...
) -> Callable[[Callable[..., Any]], Cell]: ...
def cell(
    function: Callable[..., Any] | None = None,
    /,
    *,
    vectors: Mapping[str, float] | None = None,
    kernels: Mapping[str, tuple[str, float | str]] | None = None,
) -> Any:
    """Return a recurrent cell from a function that computes one timestep.

    The first argument is this timestep's input, the other positional ones are the states of the timestep
    before, the keyword-only ones are parameters; those with a default are hyper-parameters, numbers that are
    fixed when the step is traced (`Cell.replace`). With a `/`, all arguments before it are inputs. It returns
    the new states in the same order; the first is also the output, unless an output stands before them. A
    parameter's shape follows from its use: `W @ x` a kernel (units, features), `U @ h` a recurrent kernel
    (units, units), anything elementwise a vector (units,). Annotations declare other axes: `h: "projection"`,
    `V: "projection units"`, `gap: Scalar`; a state of two axes is a matrix. An input `word: int` is an
    integer, which chooses a row of a parameter, `E[word]` with `E: "vocabulary units"`. `vectors` gives the
    initial values of parameters that stand before no @ (0 for those not named). `kernels` says how kernels
    begin, `("identity", a)` as a times the identity, `("normal", s)` as normal numbers of the deviation s,
    `("legendre", t)` as the matrices of a memory of the last t timesteps, where a number may be the name of a
    hyper-parameter; those not named are Glorot-uniform, recurrent ones orthogonal. Raises CellError, which
    names the line.
    """

    def make(function: Callable[..., Any]) -> Cell:
        signature = replace(Signature.of(function), vectors=vectors or {}, kernels=kernels or {})
        return Cell(trace(signature, signature.hyperparameters), signature)

    return make if function is None else make(function)
