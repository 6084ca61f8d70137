"""The fold in JAX: an XLA custom call with a derivative of its own, under `jit` or not, on the CPU."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from . import _ffi
from ._recipe import Backward, Forward, Recipe, kept_size

Primal = tuple[Any, Any, Any, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]
Result = tuple[Any, tuple[Any, ...]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def fold(
    recipe: Recipe,
    sequences: bool,
    inputs: Any,
    tokens: Any,
    mask: Any,
    initial: tuple[Any, ...],
    extra: tuple[Any, ...],
    weights: tuple[Any, ...],
) -> Result:
    """Fold a step over a batch; returns (outputs or None, last states). What is not there is None."""
    return _forward(recipe, sequences, False, inputs, tokens, mask, initial, extra, weights)[:2]


def _forward(
    recipe: Recipe,
    sequences: bool,
    keep: bool,
    inputs: Any,
    tokens: Any,
    mask: Any,
    initial: Any,
    extra: Any,
    weights: Any,
) -> tuple[Any, tuple[Any, ...], Any]:
    batch, time = (inputs if tokens is None else tokens).shape[:2]
    state = jax.ShapeDtypeStruct((batch, recipe.units), inputs.dtype)
    results = [state for _ in recipe.step.states]
    if sequences:
        results.insert(0, jax.ShapeDtypeStruct((batch, time, recipe.units), inputs.dtype))
    if keep:
        size = kept_size(recipe, batch, time, inputs.dtype)
        results.append(jax.ShapeDtypeStruct((size,), inputs.dtype))
    given = [value for value in (inputs, tokens, mask) if value is not None]
    found = _run(Forward(recipe, sequences, keep), [*given, *initial, *extra, *weights], results)
    kept = found.pop() if keep else None
    outputs = found.pop(0) if sequences else None
    return outputs, tuple(found), kept


def _forward_rule(recipe: Recipe, sequences: bool, *primal: Any) -> tuple[Result, Any]:
    inputs, tokens, mask, initial, extra, weights = jax.tree.map(
        lambda leaf: leaf.value, primal, is_leaf=_is_primal
    )
    if any(leaf.perturbed for leaf in primal[4]):
        raise NotImplementedError(
            "the masks of dropout and zoneout have no gradient; wrap them in jax.lax.stop_gradient"
        )
    # a flag as the structure of a pytree stays known while the way back is traced
    wanted = tuple(() if leaf.perturbed else None for leaf in (primal[0], *primal[5]))
    outputs, last, kept = _forward(recipe, sequences, True, inputs, tokens, mask, initial, extra, weights)
    return (outputs, last), (wanted, inputs, tokens, mask, extra, weights, kept)


def _backward_rule(recipe: Recipe, sequences: bool, residuals: Any, cotangents: Result) -> Any:
    wanted, inputs, tokens, mask, extra, weights, kept = residuals
    from_outputs = _arrived(cotangents[0])
    from_last = [_arrived(c) for c in cotangents[1]]
    to_inputs, *to_weights = (flag is not None for flag in wanted)
    job = Backward(
        recipe,
        from_outputs is not None,
        tuple(c is not None for c in from_last),
        to_inputs,
        tuple(to_weights),
    )
    batch = (inputs if tokens is None else tokens).shape[0]
    state = jax.ShapeDtypeStruct((batch, recipe.units), inputs.dtype)
    results = [jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)] if to_inputs else []
    results += [state for _ in from_last if recipe.initial]
    results += [
        jax.ShapeDtypeStruct(w.shape, w.dtype) for w, want in zip(weights, to_weights, strict=True) if want
    ]
    given = [value for value in (inputs, tokens, mask) if value is not None]
    given += [*extra, *weights, kept, *(c for c in (from_outputs, *from_last) if c is not None)]
    found = iter(_run(job, given, results))
    inputs_gradient = next(found) if to_inputs else None
    initial_gradients = tuple(next(found) for _ in from_last if recipe.initial)
    weights_gradients = tuple(next(found) if want else None for want in to_weights)
    return inputs_gradient, None, None, initial_gradients, tuple(None for _ in extra), weights_gradients


fold.defvjp(_forward_rule, _backward_rule, symbolic_zeros=True)


def _run(job: Forward | Backward, arguments: list[Any], results: list[Any]) -> list[Any]:
    _ffi.register(job.key, job)
    return list(_guarded(job, tuple(results), *map(jnp.asarray, arguments)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _guarded(job: Forward | Backward, results: tuple[Any, ...], *arguments: Any) -> list[Any]:
    return _ffi.call(job.key, list(arguments), list(results))


@_guarded.defjvp  # type: ignore[untyped-decorator]
def _no_second_derivative(job: Forward | Backward, results: Any, primals: Any, tangents: Any) -> Any:
    raise NotImplementedError(
        f"a stepfold layer ({job.recipe.step.name}) has no second derivative yet; take only first "
        "derivatives through it, or use Keras's own layer there"
    )


def _is_primal(leaf: Any) -> bool:
    return hasattr(leaf, "perturbed")


def _arrived(cotangent: Any) -> Any:
    """A cotangent, None if it is known to be zero."""
    zero = cotangent is None or isinstance(cotangent, jax.custom_derivatives.SymbolicZero)
    return None if zero else cotangent


def why_not(array: Any) -> str | None:
    """Return why the fold cannot run where JAX computes, None if it can."""
    platform = jax.default_backend()
    return None if platform == "cpu" else f"JAX computes on {platform}, and the kernels are for CPUs"
