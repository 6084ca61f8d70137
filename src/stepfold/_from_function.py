"""The step that a function computes: the function is called on traced values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _ops
from ._declared import declared_axes
from ._errors import CellError, line_of
from ._graph import FEATURES, SCALAR, UNITS, Dims, Node, constant, leaf
from ._hyperparameters import Number, checked_number
from ._step import Step
from ._step_json import checked_kernels
from ._trace import Parameter, Traced, as_node

_PACKAGE = __name__.partition(".")[0]
_NAMES = re.compile(r"\b(Traced|Parameter|Transposed)\b")


@dataclass(frozen=True)
class Signature:
    """What a step's function declares: states, parameters, hyper-parameters and their defaults.

    `parameters`: the axes of those that say them; None: they follow from the use.
    """

    function: Callable[..., Any]
    states: tuple[str, ...]
    parameters: Mapping[str, Dims | None]
    hyperparameters: Mapping[str, Number]

    @property
    def where(self) -> str:
        """The line of the function."""
        return _line_of(self.function)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Signature:
        """Return what a function declares; CellError, which names the line, where that is no step."""
        if not inspect.isfunction(function):
            raise CellError(
                f"@cell takes a function that computes one timestep, not {function!r}; "
                "write def step(x, h, *, …)"
            )
        where = _line_of(function)
        arguments = inspect.signature(function).parameters.values()
        if any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments):
            raise CellError(f"{where}: a cell names its arguments one by one, without *args and **kwargs")
        positional = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
        for a in positional:
            if a.default is not a.empty:
                raise CellError(
                    f"{where}: argument {a.name} has a default, but the input and the states are arrays; "
                    "write a hyper-parameter after the *"
                )
        if len(positional) < 2:
            raise CellError(
                f"{where}: a cell takes the input and at least one state; "
                f"write {function.__name__}(x, h, *, …), parameters after the *"
            )
        named = [a for a in arguments if a.kind == a.KEYWORD_ONLY]
        try:
            fixed = {a.name: checked_number(a.name, a.default) for a in named if a.default is not a.empty}
        except ValueError as error:
            raise CellError(f"{where}: {error}; a parameter, which is an array, has no default") from None
        try:
            parameters = {
                a.name: None if a.annotation is a.empty else declared_axes(function, a.name, a.annotation)
                for a in named
                if a.default is a.empty
            }
        except ValueError as error:
            raise CellError(f"{where}: {error}") from None
        return cls(function, tuple(a.name for a in positional[1:]), parameters, fixed)


def _line_of(function: Any) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def trace(
    signature: Signature,
    hyperparameters: Mapping[str, Number],
    vectors: Mapping[str, float],
    kernels: Mapping[str, tuple[str, float]],
) -> Step:
    """Call the function on traced values and return the step that it computes.

    It is called twice, which must give the same graph: a random number would be fixed when a cell is made.
    """
    step = _traced(signature, hyperparameters, vectors, kernels)
    if not str(signature.function.__module__).startswith(f"{_PACKAGE}."):
        again = _traced(signature, hyperparameters, vectors, kernels)
        if step.outputs != again.outputs:
            raise CellError(
                f"{signature.where}: {step.name} computes something else each time it is called; a random "
                "number (random, numpy.random) would be drawn once, when the step is traced, and stay the "
                "same at every timestep; make it an input or a parameter, or give the layer dropout="
            )
    return step


def _traced(
    signature: Signature,
    hyperparameters: Mapping[str, Number],
    vectors: Mapping[str, float],
    kernels: Mapping[str, tuple[str, float]],
) -> Step:
    where, name, states = signature.where, signature.function.__name__, signature.states
    parameters = {parameter: Parameter(parameter, axes) for parameter, axes in signature.parameters.items()}
    values = [Traced(leaf("input", dims=FEATURES)), *(Traced(leaf("state", s)) for s in states)]
    try:
        result = signature.function(*values, **parameters, **hyperparameters)
    except TypeError as error:  # of a function that knows no values of a step
        if isinstance(error, CellError) or not _NAMES.search(str(error)):
            raise
        told = str(error).partition("\n")[0].rstrip(".")
        raise CellError(
            f"{line_of(error)}: {told}; use stepfold's functions (stepfold.tanh, …) and + - * / ** @"
        ) from error
    if result is None and len(states) > 1:
        raise CellError(f"{where}: {name} returns nothing; end the step with return {', '.join(states)}")
    if isinstance(result, Iterable) and not isinstance(result, (tuple, list, Traced, np.ndarray)):
        raise CellError(
            f"{where}: {name} returns a {type(result).__name__}; "
            f"return the new states alone, return {', '.join(states)}"
        )
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
    dims = {parameter: value.dims for parameter, value in parameters.items() if value.dims is not None}
    wrong = [vector for vector in vectors if dims.get(vector) not in (UNITS, SCALAR)]
    if wrong:
        vector_names = ", ".join(n for n, d in dims.items() if d in (UNITS, SCALAR)) or "none"
        raise CellError(
            f"{where}: vectors= names {', '.join(wrong)}, "
            f"but the vector parameters of {name} are {vector_names}"
        )
    start = {vector: float(value) for vector, value in vectors.items()}
    try:
        begin = checked_kernels(kernels, dims)
        return Step(name, states, dims, outputs, start, begin, hyperparameters)
    except ValueError as error:
        raise CellError(f"{where}: {error}") from None


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


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({', '.join(names)})"
