"""Algebraic simplification of one operation: constants are folded, neutral elements and double signs go."""

from __future__ import annotations

import math
from collections.abc import Callable

from ._dims import broadcast_dims
from ._graph import Node, constant

_CONSTANT: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
}


def simplified(op: str, inputs: tuple[Node, ...], apply: Callable[..., Node]) -> Node | None:
    """Return a simpler node of the same value and axes, None if no rule has one; no rule removes NaN or inf.

    `apply(op, *inputs)` makes a node.
    """
    values = [float(i.attributes[0]) if i.op == "constant" else None for i in inputs]
    numbers = [v for v in values if v is not None]
    if op in _CONSTANT and len(numbers) == len(inputs):
        result = _CONSTANT[op](*numbers)
        # a constant is never NaN, so inf - inf stays an operation
        return None if math.isnan(result) else constant(result, max((i.dims for i in inputs), key=len))
    if op == "negate":
        return inputs[0].inputs[0] if inputs[0].op == "negate" else None
    if op not in _ARITHMETIC:
        return None
    return _simplified_arithmetic(op, inputs[0], inputs[1], values[0], values[1], apply)


_ARITHMETIC = ("add", "subtract", "multiply", "divide")


def _simplified_arithmetic(
    op: str, a: Node, b: Node, a_value: float | None, b_value: float | None, apply: Callable[..., Node]
) -> Node | None:
    dims = broadcast_dims(a.dims, b.dims)
    neutral = 0.0 if op in ("add", "subtract") else 1.0
    if b_value == neutral and a.dims == dims:
        return a
    if op in ("add", "multiply") and a_value == neutral and b.dims == dims:
        return b
    if op == "multiply" and b_value == -1.0 and a.dims == dims:
        return apply("negate", a)
    if op in ("add", "subtract") and b.op == "negate":
        return apply("subtract" if op == "add" else "add", a, b.inputs[0])
    return None
