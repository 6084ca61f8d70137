"""A recipe as a loop of JAX operations, which JAX can derive in every way and as often as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._interpret import interpret, stages
from .._moves import implementations
from .._numpy_ops import MATRIX_PRODUCTS
from .._runtime import Recipe
from ._tokens import Operands

JAX: dict[str, Callable[..., Any]] = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "divide": jnp.divide,
    "negate": jnp.negative,
    "abs": jnp.abs,
    "tanh": jnp.tanh,
    "exp": jnp.exp,
    "log": jnp.log,
    "sqrt": jnp.sqrt,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "floor": jnp.floor,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "erf": jax.lax.erf,
    "softplus": jax.nn.softplus,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "where": jnp.where,
    "less": jnp.less,
    "less_equal": jnp.less_equal,
    "greater": jnp.greater,
    "greater_equal": jnp.greater_equal,
    "equal": jnp.equal,
    "not_equal": jnp.not_equal,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_not": jnp.logical_not,
    "sum": lambda x: jnp.sum(x, axis=-1, keepdims=True),
    "max": lambda x: jnp.max(x, axis=-1, keepdims=True),
    "matmul": lambda matrix, x: x @ matrix.T,
    "matmul_transposed": lambda matrix, x: x @ matrix,
    **MATRIX_PRODUCTS,
    **implementations(
        lambda arrays: jnp.concatenate(arrays, -1),
        lambda x, before, after, behind: jnp.pad(
            x, [*[(0, 0)] * (x.ndim - 1 - behind), (before, after), *[(0, 0)] * behind]
        ),
        lambda x: jnp.cumsum(x, -1),
        lambda x: jnp.flip(x, -1),
        lambda x, many: jnp.repeat(x, many, -1),
    ),
}
"""What each operation of the table is in JAX; rows of values are along the last axis."""


def loop(recipe: Recipe, sequences: bool, given: Operands) -> list[Any]:
    """Return [outputs (batch, time, units), if `sequences`] and the last states (batch, units), or as their
    axes say."""
    step, inputs, dtype = recipe.step, given.inputs, given.dtype
    if given.tokens is not None:
        inputs = inputs[given.tokens]
    if given.side is not None:
        inputs = jnp.concatenate([inputs, given.side], -1)
    batch = given.by_step.shape[0]
    shapes = [(batch, *shape) for shape in recipe.state_shapes]
    states = given.initial or tuple(jnp.zeros(shape, dtype) for shape in shapes)
    fixed = recipe.parameters(given.weights, lambda: jnp.zeros(recipe.units, dtype))
    leaves = {("parameter", name): value for name, value in fixed.items()}
    extra = dict(zip(recipe.extra, given.extra, strict=True))
    leaves |= {name: value for name, value in extra.items() if name[0] == "row_input"}
    each = {name: jnp.swapaxes(v, 0, 1) for name, v in extra.items() if name[0] == "step_input"}
    named = zip(step.inputs, given.named, strict=True)
    leaves |= {("input", name): jnp.swapaxes(value, 0, 1) for name, value in named}  # (T, B, …)
    if inputs is not None:
        leaves["input", ""] = jnp.swapaxes(inputs, 0, 1)  # (T, B, F)
    active = None if given.mask is None else jnp.swapaxes(given.mask, 0, 1)  # (T, B)
    sizes = {"units": recipe.units, **dict(recipe.sizes)}

    def evaluate(nodes: Any, leaves: Any, known: Any = None) -> dict[int, Any]:
        return interpret(nodes, leaves, JAX, lambda v, shape: jnp.full(shape, v, dtype), sizes, known)

    constant, early, late = stages(step)
    ready = evaluate([*constant, *early], leaves)
    read = {id(n) for n in (*step.outputs, *(i for n in late for i in n.inputs))}
    arriving = {str(id(n)): ready.pop(id(n)) for n in early if id(n) in read}  # (T, B, units)

    def advance(states: tuple[Any, ...], timestep: Any) -> tuple[tuple[Any, ...], Any]:
        of_leaves, of_early, active = timestep
        now = {**leaves, **of_leaves}
        now |= {("state", name): value for name, value in zip(step.states, states, strict=True)}
        values = evaluate(late, now, {**ready, **{int(key): value for key, value in of_early.items()}})
        new = tuple(
            jnp.broadcast_to(values[id(n)], shape) for n, shape in zip(step.outputs, shapes, strict=True)
        )
        if active is not None:
            masks = (active.reshape(-1, *[1] * (old.ndim - 1)) for old in states)
            new = tuple(jnp.where(m, a, b) for m, a, b in zip(masks, new, states, strict=True))
        return new, new[0] if sequences else None

    last, outputs = jax.lax.scan(advance, states, (each, arriving, active), reverse=recipe.reverse)
    return [*([jnp.swapaxes(outputs, 0, 1)] if sequences else []), *last]
