"""The scan in JAX: an XLA custom call with a derivative of its own, under `jit` or not, on the CPU."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._runtime import Recipe, Wanted, engine_for, residuals_size
from . import _xla
from ._tokens import Operands
from ._xla import Attributes

Result = tuple[Any, tuple[Any, ...]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan(recipe: Recipe, sequences: bool, given: Operands) -> Result:
    """Run a recipe over a batch; returns (outputs or None, last states)."""
    return _forward(recipe, sequences, False, given)[:2]


def _forward(
    recipe: Recipe, sequences: bool, training: bool, given: Operands
) -> tuple[Any, tuple[Any, ...], Any]:
    inputs, tokens, side, mask, *lists = given
    batch, time = (inputs if tokens is None else tokens).shape[:2]
    results = [_like(inputs, batch, recipe.units) for _ in recipe.step.states]
    if sequences:
        results.insert(0, _like(inputs, batch, time, recipe.units))
    if training:
        engine = engine_for(recipe.step, recipe.units, np.dtype(inputs.dtype))
        row = residuals_size(engine, recipe, 1, time)  # by rows, so that a batch can be cut by rows
        results.append(jax.ShapeDtypeStruct((batch, row), np.uint8))
    arrays = [value for value in (inputs, tokens, side, mask) if value is not None]
    arrays += [array for listed in lists for array in listed]
    attributes = Attributes(recipe.text, sequences, training)
    found = _run(attributes, recipe.step.name, batch, results, arrays)
    residuals = found.pop() if training else None
    outputs = found.pop(0) if sequences else None
    return outputs, tuple(found), residuals


def _like(array: Any, *shape: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, array.dtype)


def _forward_rule(recipe: Recipe, sequences: bool, primal: Operands) -> tuple[Result, Any]:
    given = jax.tree.map(lambda leaf: leaf.value, primal, is_leaf=lambda leaf: hasattr(leaf, "perturbed"))
    if any(leaf.perturbed for leaf in primal.extra):
        raise NotImplementedError(
            "the masks of dropout and zoneout have no gradient; wrap them in jax.lax.stop_gradient"
        )
    perturbed = [leaf.perturbed for leaf in (primal.inputs, *primal.weights)]
    perturbed.append(primal.side is not None and primal.side.perturbed)
    # a flag as the structure of a pytree stays known while the backward pass is traced
    wanted = tuple(() if wish else None for wish in perturbed)
    outputs, last, residuals = _forward(recipe, sequences, True, given)
    return (outputs, last), (wanted, given.inputs, given.side, given.extra, given.weights, residuals)


def _backward_rule(recipe: Recipe, sequences: bool, saved: Any, cotangents: Result) -> Any:
    flags, inputs, side, extra, weights, residuals = saved
    from_outputs = _arrived(cotangents[0])
    from_last = [_arrived(c) for c in cotangents[1]]
    to_inputs, *to_weights, to_side = (flag is not None for flag in flags)
    given_last = tuple(c is not None for c in from_last)
    wanted = Wanted(from_outputs is not None, given_last, to_inputs, tuple(to_weights), to_side)
    results = [_like(inputs, *inputs.shape)] if to_inputs else []
    results += [_like(side, *side.shape)] if to_side else []
    results += [_like(inputs, residuals.shape[0], recipe.units) for _ in from_last if recipe.initial]
    results += [_like(w, *w.shape) for w, wish in zip(weights, to_weights, strict=True) if wish]
    given = [inputs, *([] if side is None else [side]), *extra, *weights, residuals]
    given += [c for c in (from_outputs, *from_last) if c is not None]
    attributes = Attributes(recipe.text, wanted=wanted)
    found = iter(_run(attributes, recipe.step.name, residuals.shape[0], results, given))
    inputs_gradient = next(found) if to_inputs else None
    side_gradient = next(found) if to_side else None
    initial_gradients = tuple(next(found) for _ in from_last if recipe.initial)
    weights_gradients = tuple(next(found) if wish else None for wish in to_weights)
    no_extra = tuple(None for _ in extra)
    gradients = Operands(
        inputs_gradient, None, side_gradient, None, initial_gradients, no_extra, weights_gradients
    )
    return (gradients,)


scan.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)


def _run(
    attributes: Attributes, name: str, batch: Any, results: list[Any], arguments: list[Any]
) -> list[Any]:
    if batch == 0:  # no kernel runs: there is no row to run, and no memory for residuals
        return [jnp.zeros(result.shape, result.dtype) for result in results]
    if not results:
        return []
    return list(_guarded(attributes, name, tuple(results), *map(jnp.asarray, arguments)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _guarded(attributes: Attributes, name: str, results: tuple[Any, ...], *arguments: Any) -> list[Any]:
    return _xla.call(attributes, list(arguments), list(results))


@_guarded.defjvp  # type: ignore[untyped-decorator]
def _no_second_derivative(
    attributes: Attributes, name: str, results: Any, primals: Any, tangents: Any
) -> Any:
    raise NotImplementedError(
        f"a stepfold layer ({name}) has no second derivative yet; take only first derivatives through it, or "
        "use Keras's own layer there"
    )


def _arrived(cotangent: Any) -> Any:
    """A cotangent, None if it is known to be zero."""
    zero = cotangent is None or isinstance(cotangent, jax.custom_derivatives.SymbolicZero)
    return None if zero else cotangent


def unsupported_reason(array: Any) -> str | None:
    """Return why the kernels cannot run where JAX computes, None if they can."""
    platform = jax.default_backend()
    return None if platform == "cpu" else f"JAX computes on {platform}, and the kernels are for CPUs"
