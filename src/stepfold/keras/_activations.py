"""Keras's activations as functions of the cell language, and its operations as Keras's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from .. import _language
from .._graph import Node
from .._interpret import interpret

Function = Callable[[Any], Any]

_FUNCTIONS: tuple[tuple[str, Function], ...] = (
    ("linear", _language.linear),
    ("tanh", _language.tanh),
    ("sigmoid", _language.sigmoid),
    ("hard_sigmoid", _language.hard_sigmoid),
    ("relu", _language.relu),
    ("elu", _language.elu),
    ("silu", _language.silu),
    ("gelu", _language.gelu),
    ("softplus", _language.softplus),
    ("softsign", _language.softsign),
    ("softmax", _language.softmax),
    ("exponential", _language.exp),
)
_ops_names = {"exponential": "exp"}
_FROM_KERAS: list[tuple[Any, Function]] = [
    (getattr(keras.activations, name), function) for name, function in _FUNCTIONS
]
_FROM_KERAS += [
    (getattr(ops, _ops_names.get(name, name)), function)
    for name, function in _FUNCTIONS
    # keras.ops.gelu is another function by default: the approximation
    if name not in ("linear", "gelu") and hasattr(ops, _ops_names.get(name, name))
]


def function_of(activation: Any) -> Function | None:
    """Return the function of the cell language that is an activation of Keras, None if there is none."""
    for known, function in _FROM_KERAS:
        if activation is known:
            return function
    return None


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
}
"""The table of operations for the loop that Keras runs where no kernel can."""


def evaluate(nodes: Sequence[Node], leaves: Mapping[tuple[str, str], Any], units: int) -> dict[int, Any]:
    """Compute nodes (each after its inputs) with Keras's operations; returns id(node) → value."""
    dtype = leaves["input", ""].dtype
    return interpret(
        nodes, leaves, OPERATIONS, lambda value, size: ops.full((size,), value, dtype=dtype), units
    )
