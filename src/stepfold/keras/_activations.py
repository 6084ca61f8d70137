"""Keras's activations as functions of the cell language, and its operations as Keras's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from .. import _language
from .._graph import Node
from .._interpret import interpret
from .._moves import implementations
from .._numpy_ops import MATRIX_PRODUCTS

Function = Callable[[Any], Any]
Named = tuple[str, Mapping[str, Any]]
"""An activation as its name in Keras and its parameters."""


@dataclass(frozen=True)
class With:
    """A function with parameters. Equal ones are equal, so that their cells are made once."""

    function: Callable[..., Any]
    parameters: tuple[tuple[str, Any], ...]

    def __call__(self, x: Any) -> Any:
        """Return the function of traced values or NumPy arrays."""
        return self.function(x, **dict(self.parameters))


def _relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    above = _language.relu(x) if threshold == 0.0 else _language.where(x > threshold, x, 0.0)
    if max_value is not None:
        above = _language.clip(above, 0.0, max_value)
    return above - negative_slope * _language.relu(threshold - x) if negative_slope else above


def _gelu(x: Any, approximate: bool = False) -> Any:
    """The exact form, or the one with tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    if not approximate:
        return _language.gelu(x)
    return 0.5 * x * (1.0 + _language.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


_WITH_PARAMETERS: Mapping[str, Callable[..., Any]] = {
    **_language.ACTIVATIONS,
    "threshold": _language.threshold,
    "relu": _relu,
    "gelu": _gelu,
    "softmax": lambda x: _language.softmax(x),
}
_OF_OPS: Mapping[str, Mapping[str, Any]] = {"gelu": {"approximate": True}}
"""The parameters of a function of `keras.ops` where they are not those of `keras.activations`."""
_LAYERS: Mapping[type, tuple[str, tuple[str, ...]]] = {
    layers.ELU: ("elu", ("alpha",)),
    layers.LeakyReLU: ("leaky_relu", ("negative_slope",)),
    layers.ReLU: ("relu", ("negative_slope", "max_value", "threshold")),
    layers.Softmax: ("softmax", ("axis",)),
}
"""Keras's layers that are activations: the name of the function, and the layer's parameters of it."""


def _functions() -> list[tuple[Any, Named]]:
    found: list[tuple[Any, Named]] = []
    for name in _WITH_PARAMETERS:
        found.append((getattr(keras.activations, name), (name, {})))
        of_ops = getattr(ops, "exp" if name == "exponential" else name, None)
        if of_ops is not None:
            found.append((of_ops, (name, _OF_OPS.get(name, {}))))
    return found


_FUNCTIONS = _functions()


def function_of(activation: Any) -> Function | None:
    """Return the function of the cell language that is an activation of Keras, None if there is none.

    `activation`: a function of `keras.activations` or `keras.ops`, `functools.partial` of one, or a layer
    that is an activation.
    """
    named = _named(activation)
    return None if named is None else _function(*named)


def _named(activation: Any) -> Named | None:
    kind = type(activation)
    if isinstance(activation, functools.partial):
        named = None if activation.args else _named(activation.func)
        return named and (named[0], {**named[1], **activation.keywords})
    if kind is layers.Activation:
        return _named(activation.activation)
    if kind in _LAYERS:
        name, parameters = _LAYERS[kind]
        return name, {each: getattr(activation, each) for each in parameters}
    return next((named for known, named in _FUNCTIONS if activation is known), None)


def _function(name: str, parameters: Mapping[str, Any]) -> Function | None:
    """Return a function with parameters, None if it has not such parameters here."""
    function = _WITH_PARAMETERS[name]
    taken = list(inspect.signature(function).parameters.values())[1:]
    defaults = {each.name: each.default for each in taken}
    if name in ("softmax", "log_softmax"):
        defaults["axis"] = -1
    if not all(value is None or isinstance(value, (int, float)) for value in parameters.values()):
        return None
    changed = {each: value for each, value in parameters.items() if value != defaults.get(each, defaults)}
    if any(value is inspect.Parameter.empty and each not in changed for each, value in defaults.items()):
        return None
    if not changed:
        return _language.ACTIVATIONS[name]
    if "axis" in changed or not defaults.keys() >= changed.keys():
        return None
    return With(function, tuple(sorted(changed.items())))


def name_of(activation: Any) -> str:
    """Return what to call an activation in a message."""
    return str(
        getattr(activation, "__name__", None)
        or getattr(activation, "name", None)
        or type(activation).__name__
    )


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "divide": ops.divide,
    "negate": ops.negative,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "relu": ops.relu,
    "exp": ops.exp,
    "log": ops.log,
    "sqrt": ops.sqrt,
    "abs": ops.abs,
    "erf": ops.erf,
    "softplus": ops.softplus,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "where": ops.where,
    "sin": ops.sin,
    "cos": ops.cos,
    "floor": ops.floor,
    "logical_and": ops.logical_and,
    "logical_or": ops.logical_or,
    "logical_not": ops.logical_not,
    "less": ops.less,
    "less_equal": ops.less_equal,
    "greater": ops.greater,
    "greater_equal": ops.greater_equal,
    "equal": ops.equal,
    "not_equal": ops.not_equal,
    "sum": lambda x: ops.sum(x, axis=-1, keepdims=True),
    "max": lambda x: ops.max(x, axis=-1, keepdims=True),
    "matmul": lambda matrix, x: ops.matmul(x, ops.transpose(matrix)),
    "matmul_transposed": lambda matrix, x: ops.matmul(x, matrix),
    **MATRIX_PRODUCTS,
    **implementations(
        lambda arrays: ops.concatenate(arrays, -1),
        lambda x, before, after, behind: ops.pad(
            x, [*[(0, 0)] * (len(x.shape) - 1 - behind), (before, after), *[(0, 0)] * behind]
        ),
        lambda x: ops.cumsum(x, -1),
        lambda x: ops.flip(x, -1),
        lambda x, many: ops.repeat(x, many, -1),
    ),
}
"""The table of operations for the loop that Keras runs where no kernel can."""


def evaluate(
    nodes: Sequence[Node], leaves: Mapping[tuple[str, str], Any], sizes: Mapping[str, int]
) -> dict[int, Any]:
    """Compute nodes (each after its inputs) with Keras's operations; returns id(node) → value."""
    dtype = next(value for (kind, _), value in leaves.items() if kind == "input").dtype
    return interpret(nodes, leaves, OPERATIONS, lambda v, shape: ops.full(shape, v, dtype=dtype), sizes)
