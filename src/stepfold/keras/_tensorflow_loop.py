"""A recipe as a loop of TensorFlow's operations, which TensorFlow can derive as often as wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from .._interpret import interpret, stages
from .._runtime import Part, Recipe
from ._activations import OPERATIONS
from ._tokens import Operands

Template = Operands
"""Operands with True in the place of a tensor of floats, False of another one."""


def operands_of(template: Template, floats: Sequence[Any], others: Sequence[Any]) -> Operands:
    """Return operands of their floats and their other tensors."""
    both = {True: iter(floats), False: iter(others)}
    flat = [None if floating is None else next(both[floating]) for floating in tf.nest.flatten(template)]
    return Operands(*tf.nest.pack_sequence_as(template, flat))


@functools.lru_cache(maxsize=64)
def second_derivatives(recipe: Recipe, sequences: bool, template: Template) -> Callable[..., list[Any]]:
    """Return what derives a backward pass: (floats, others, the gradients that arrived, the cotangents of
    those that it gave) → the gradients of the gradients that arrived, and of the floats.

    It is a graph, also where all else is eager: no tape records under a `tf.autodiff.ForwardAccumulator`."""

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def derived(floats: Any, others: Any, arriving: Any, cotangents: Any) -> list[Any]:
        results = loop(recipe, sequences, operands_of(template, floats, others))
        first = tf.gradients(results, floats, list(arriving), unconnected_gradients="zero")
        given = [*arriving, *floats]
        return list(tf.gradients(first, given, list(cotangents), unconnected_gradients="zero"))

    return derived  # type: ignore[no-any-return]


def loop(recipe: Recipe, sequences: bool, given: Operands) -> list[Any]:
    """Return [outputs (batch, time, units), if `sequences`] and the last states (batch, units)."""
    step, inputs = recipe.step, given.inputs
    if not step.uniform:
        raise NotImplementedError(
            f"second derivatives of {step.name} on TensorFlow: only cells of one input and without sizes of "
            "their own have them; use Keras on JAX or torch"
        )
    if given.tokens is not None:
        inputs = tf.gather(inputs, given.tokens)
    if given.side is not None:
        inputs = tf.concat([inputs, given.side], -1)
    rows = (tf.shape(inputs)[0], recipe.units)
    states = given.initial or tuple(tf.zeros(rows, inputs.dtype) for _ in step.states)
    leaves: dict[tuple[str, str], Any] = {}
    for name, parts in recipe.parts:
        pieces = [_piece(part, given.weights, recipe.units) for part in parts]
        leaves["parameter", name] = tf.add_n(pieces) if pieces else tf.zeros(recipe.units, inputs.dtype)
    extra = dict(zip(recipe.extra, given.extra, strict=True))
    leaves |= {name: value for name, value in extra.items() if name[0] == "row_input"}
    leaves["input", ""] = _swapped(inputs)  # (T, B, F)

    def evaluate(nodes: Any, leaves: Any, known: Any = None) -> dict[int, Any]:
        sizes, dtype = {"units": recipe.units}, inputs.dtype
        constant = lambda value, shape: tf.fill(shape, tf.constant(value, dtype))  # noqa: E731
        return interpret(nodes, leaves, OPERATIONS, constant, sizes, known)

    constant, early, late = stages(step)
    ready = evaluate([*constant, *early], leaves)
    read = {id(n) for n in (*step.outputs, *(i for n in late for i in n.inputs))}
    # what each timestep reads of its own, by the kind and the name of the leaf, or of the node
    each: dict[str, Any] = {f"node {id(n)}": ready.pop(id(n)) for n in early if id(n) in read}
    each |= {f"leaf {name[1]}": _swapped(value) for name, value in extra.items() if name[0] == "step_input"}
    if given.mask is not None:
        each["active"] = _swapped(given.mask)[:, :, None]  # (T, B, 1)
    each["time"] = tf.range(tf.shape(inputs)[1])  # so that there is something to scan

    def advance(states: tuple[Any, ...], timestep: dict[str, Any]) -> tuple[Any, ...]:
        now = {("state", name): value for name, value in zip(step.states, states, strict=True)}
        known = dict(ready)
        for name, value in timestep.items():
            kind, _, rest = name.partition(" ")
            if kind == "node":
                known[int(rest)] = value
            elif kind == "leaf":
                now["step_input", rest] = value
        values = evaluate(late, {**leaves, **now}, known)
        new = [tf.broadcast_to(values[id(n)], tf.shape(s)) for n, s in zip(step.outputs, states, strict=True)]
        if given.mask is not None:
            new = [tf.where(timestep["active"], a, b) for a, b in zip(new, states, strict=True)]
        return tuple(new)

    found = tf.scan(advance, each, states, reverse=recipe.reverse)
    last = [value[0 if recipe.reverse else -1] for value in found]
    return [*([_swapped(found[0])] if sequences else []), *last]


def _piece(part: Part, weights: Any, units: int) -> Any:
    """A piece of a weight; tensors of TensorFlow have no `T`."""
    found = part._replace(transposed=False).of(weights[part.weight], units)
    return tf.transpose(found) if part.transposed else found


def _swapped(tensor: Any) -> Any:
    """(batch, time, …) as (time, batch, …), and back."""
    return tf.transpose(tensor, [1, 0, *range(2, len(tensor.shape))])
