"""The step that a function computes: the function is called on traced values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _ops
from ._declared import declared_axes, is_integer, value_axes
from ._dims import axes_text
from ._errors import CellError, line_of
from ._graph import FEATURES, SCALAR, UNITS, Dims, Node, constant, leaf, topological_order
from ._hyperparameters import Number, checked_number
from ._initial import checked_kernels
from ._lookups import Lookup
from ._noise import numbered
from ._step import Step
from ._trace import Index, Parameter, Traced, as_node

_PACKAGE = __name__.partition(".")[0]
_NAMES = re.compile(r"\b(Traced|Parameter|Transposed)\b")


@dataclass(frozen=True)
class Signature:
    """What a step's function declares: inputs, states, parameters, hyper-parameters and their defaults.

    The axes of inputs, states and parameters; None for those that do not say them: an input's are
    (features,), a state's (units,), a parameter's follow from its use. `vectors` and `kernels`: how
    parameters begin, with numbers or the names of hyper-parameters. `integers`: the inputs that are integers.
    """

    function: Callable[..., Any]
    inputs: Mapping[str, Dims | None]
    states: Mapping[str, Dims | None]
    parameters: Mapping[str, Dims | None]
    hyperparameters: Mapping[str, Number]
    vectors: Mapping[str, float] = field(default_factory=dict)
    kernels: Mapping[str, tuple[str, float | str]] = field(default_factory=dict)
    integers: frozenset[str] = frozenset()

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
        # what stands before a / are inputs, if something stands behind it
        split = sum(a.kind == a.POSITIONAL_ONLY for a in positional)
        first = split if 0 < split < len(positional) else 1

        def declared(arguments: Iterable[inspect.Parameter], role: str) -> dict[str, Dims | None]:
            return {
                a.name: None
                if a.annotation is a.empty
                else declared_axes(function, a.name, a.annotation, role)
                for a in arguments
            }

        try:
            integers = frozenset(a.name for a in positional[:first] if is_integer(function, a.annotation))
            others = [a for a in positional[:first] if a.name not in integers]
            own = declared(others, "input") | dict.fromkeys(integers, SCALAR)
            inputs = {a.name: own[a.name] for a in positional[:first]}
            states = declared(positional[first:], "state")
            parameters = declared((a for a in named if a.default is a.empty), "parameter")
        except ValueError as error:
            raise CellError(f"{where}: {error}") from None
        for name in list(inputs)[1:]:
            if inputs[name] is None:
                raise CellError(
                    f"{where}: the input {name} needs axes, since only the first may do without; "
                    f'write {name}: "features", {name}: Scalar for a number, or {name}: int for an integer'
                )
        return cls(function, inputs, states, parameters, fixed, integers=integers)


def _line_of(function: Any) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def trace(signature: Signature, hyperparameters: Mapping[str, Number]) -> Step:
    """Call the function on traced values and return the step that it computes.

    It is called twice, which must give the same graph: a random number would be fixed when a cell is made.
    """
    step = _traced(signature, hyperparameters)
    if not str(signature.function.__module__).startswith(f"{_PACKAGE}."):
        again = _traced(signature, hyperparameters)
        if step.outputs != again.outputs:
            raise CellError(
                f"{signature.where}: {step.name} computes something else each time it is called; a random "
                "number (random, numpy.random) would be drawn once, when the step is traced, and stay the "
                "same at every timestep; write dropout(v, rate) or noise(v, std), or make it an input"
            )
    return step


def _traced(signature: Signature, hyperparameters: Mapping[str, Number]) -> Step:
    where, name, states = signature.where, signature.function.__name__, tuple(signature.states)
    parameters = {parameter: Parameter(parameter, axes) for parameter, axes in signature.parameters.items()}
    axes = {state: UNITS if dims is None else value_axes(dims) for state, dims in signature.states.items()}
    inputs = {
        value: SCALAR if value in signature.integers else value_axes(dims)
        for value, dims in signature.inputs.items()
        if dims is not None
    }
    values: list[Traced] = [
        Index(value)
        if value in signature.integers
        else Traced(leaf("input", dims=FEATURES))
        if dims is None
        else _value("input", value, dims)
        for value, dims in signature.inputs.items()
    ]
    values += [_value("state", s, UNITS if dims is None else dims) for s, dims in signature.states.items()]
    try:
        with numbered():
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
    output = len(new) == len(states) + 1
    if len(new) != len(states) + output:
        raise CellError(
            f"{where}: {name} has {_count(states, 'state')} but returns {len(new)}; "
            "return the new states, as many and in the same order"
            + ", and before them the output if that is no state"
            * (len(new) > len(states))
        )
    outputs = [_new_state(s, v, where, axes[s]) for s, v in zip(states, new[output:], strict=True)]
    if output:
        value, called = _output(new[0], where), _free("output", (*states, *inputs, *parameters))
        outputs, states, axes = [value, *outputs], (called, *states), {called: value.dims, **axes}
    read = {_input_of(n, inputs) for n in topological_order(outputs) if n.op == "input"}
    unread = [i for i, of in signature.inputs.items() if inputs and (i if of is not None else "") not in read]
    if unread:
        raise CellError(
            f"{where}: {name} never uses the input {', '.join(unread)}; remove what is not needed"
        )
    unused = [parameter for parameter, value in parameters.items() if value.dims is None]
    if unused:
        raise CellError(
            f"{where}: {name} never uses {_count(unused, 'parameter')}; remove what is not needed"
        )
    dims = {parameter: value.dims for parameter, value in parameters.items() if value.dims is not None}
    elementwise = [
        n
        for n, value in parameters.items()
        if value.role == "elementwise" or (value.role == "table" and len(dims[n]) == 1)
    ]
    vectors = signature.vectors
    wrong = [vector for vector in vectors if vector not in elementwise]
    if wrong:
        vector_names = ", ".join(elementwise) or "none"
        raise CellError(
            f"{where}: vectors= names {', '.join(wrong)}, "
            f"but the vector parameters of {name} are {vector_names}"
        )
    try:
        start = {
            vector: float(checked_number(vector, value, "vectors=:")) for vector, value in vectors.items()
        }
        begin = checked_kernels(_with_numbers(signature.kernels, hyperparameters), dims)
        own = {state: found for state, found in axes.items() if found != UNITS}
        return Step(name, states, dims, tuple(outputs), start, begin, hyperparameters, own, inputs, output)
    except ValueError as error:
        raise CellError(f"{where}: {error}") from None


def _input_of(n: Node, inputs: Mapping[str, Dims]) -> str:
    """The name of the input that a leaf reads, of a row that of the integer; "" for that without a name."""
    name = str(n.attributes[0]) if n.attributes else ""
    row = None if name in inputs else Lookup.read(name)
    return name if row is None else row.integer


def _with_numbers(kernels: Any, hyperparameters: Mapping[str, Number]) -> Any:
    """How kernels begin, with the values of hyper-parameters in place of their names."""
    if not isinstance(kernels, Mapping):
        return kernels
    return {
        name: (begin[0], hyperparameters.get(begin[1], begin[1]))
        if isinstance(begin, tuple) and len(begin) == 2 and isinstance(begin[1], str)
        else begin
        for name, begin in kernels.items()
    }


def _value(op: str, name: str, dims: Dims) -> Traced:
    """The input or state of a name; one that is a number is stored as a vector of one element."""
    if dims == SCALAR:
        return Traced(_ops.sum_over_units(leaf(op, name, dims=value_axes(dims))))
    return Traced(leaf(op, name, dims=dims))


def _free(name: str, taken: Iterable[str]) -> str:
    """A name that nothing else has."""
    while name in taken:
        name += "_"
    return name


def _output(value: Any, where: str) -> Node:
    """The node of an output that is no state."""
    node = _new_state("", value, where, None)
    return _ops.spread(node, constant(1.0, value_axes(SCALAR))) if node.dims == SCALAR else node


def _new_state(state: str, value: Any, where: str, dims: Dims | None) -> Node:
    """The node of a new state, of these axes; a per-row scalar is broadcast. None: an output, of any axes."""
    told = f"new state {state!r}" if dims is not None else "output"
    if value is None:
        raise CellError(f"{where}: the {told} is None; end the step with return and the new states")
    if isinstance(value, Traced) and value.node.op == "input" and not value.node.attributes:
        raise CellError(
            f"{where}: the {told} has the axes (features,), expected {axes_text(dims or UNITS)}; "
            "project it, W @ x"
        )
    node = as_node(value)
    if node.boolean:
        raise CellError(f"{where}: the {told} is a comparison, which is boolean; use where(condition, a, b)")
    if dims is None or node.dims == dims:
        return node
    if node.dims != SCALAR:
        raise CellError(
            f"{where}: the {told} has the axes {axes_text(node.dims)}, expected {axes_text(dims)}; "
            f"declare the state's axes, {state}: {' '.join(node.dims)!r}, or project the value"
        )
    return _ops.multiply(node, constant(1.0, dims))


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({', '.join(names)})"
