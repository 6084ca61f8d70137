"""The scan in JAX, under `jit` or not, on the CPU: three primitives, and what JAX's transformations make of
them.

The forward and the backward pass are kernels. Between them stands the derivative as a linear function of
tangents, whose transpose is the backward pass: `grad`, `vjp` and `jacrev` never run it. Forward mode (`jvp`,
`jacfwd`) and second derivatives run the scan as a loop of JAX operations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._runtime import Recipe
from .._warn import warn_once
from . import _jax_batching
from ._jax_kernels import Scan, backward, forward
from ._jax_loop import loop
from ._jax_sharding import Rows, implementation, register_lowering
from ._tokens import Operands

Result = tuple[Any, tuple[Any, ...]]
Flags = tuple[bool, ...]


def scan(recipe: Recipe, sequences: bool, given: Operands) -> Result:
    """Run a recipe over a batch; returns (outputs or None, last states)."""
    flat, structure = jax.tree.flatten(given)
    found = list(_forward.bind(*flat, scan=Scan(recipe, sequences, structure), training=False))
    return found.pop(0) if sequences else None, tuple(found)


def unsupported_reason(array: Any) -> str | None:
    """Return why the kernels cannot run where JAX computes, None if they can."""
    platform = jax.default_backend()
    return None if platform == "cpu" else f"JAX computes on {platform}, and the kernels are for CPUs"


def _primitive(
    name: str,
    function: Callable[..., list[Any]],
    shapes: Callable[..., list[Any]],
    rows: Callable[..., Rows] | None = None,
) -> Primitive:
    """A primitive; with `rows` its function is a kernel, which several devices call on rows of their own."""
    made = Primitive(name)
    made.multiple_results = True
    made.def_abstract_eval(
        lambda *values, **options: [
            jax.core.ShapedArray(each.shape, each.dtype) for each in shapes(*values, **options)
        ]
    )
    if rows is None:
        made.def_impl(function)
        mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=True))
    else:
        made.def_impl(implementation(made, function))
        register_lowering(made, function, rows)
    return made


# ---- the derivative as a loop -----------------------------------------------------------------------------


def _tangents(*values: Any, scan: Scan, perturbed: Flags) -> list[Any]:
    """Push the tangents of the perturbed arrays through the scan: the flat arrays, the residuals (which the
    loop does not read) and the tangents; returns the tangents of outputs and last states."""
    _warn("forward-mode derivatives")
    flat, given = values[: scan.count], values[scan.count + 1 :]
    primals = [value for value, wish in zip(flat, perturbed, strict=True) if wish]
    _, found = jax.jvp(_as_loop(flat, scan, perturbed), primals, list(given))
    return list(found)


def _gradients(*values: Any, scan: Scan, perturbed: Flags, arrived: Flags) -> list[Any]:
    """Compute what `backward` does from the same arrays by a loop of JAX operations."""
    flat, cotangents = values[: scan.count], iter(values[scan.count + 1 :])
    primals = [value for value, wish in zip(flat, perturbed, strict=True) if wish]
    results, pull = jax.vjp(_as_loop(flat, scan, perturbed), *primals)
    given = [next(cotangents) if has else jnp.zeros_like(r) for r, has in zip(results, arrived, strict=True)]
    return list(pull(given))


def _as_loop(flat: Sequence[Any], scan: Scan, perturbed: Flags) -> Callable[..., list[Any]]:
    """The scan as a function of its perturbed arrays alone."""

    def function(*changed: Any) -> list[Any]:
        new = iter(changed)
        full = [next(new) if wish else value for value, wish in zip(flat, perturbed, strict=True)]
        return loop(scan.recipe, scan.sequences, scan.operands(full))

    return function


_forward = _primitive(
    "stepfold_scan",
    forward,
    lambda *flat, scan, training: scan.results(flat, training),
    lambda count, scan, training: Rows(
        scan.by_row,
        (True,) * (scan.sequences + len(scan.recipe.step.states) + training),
        residuals=-1 if training else None,
    ),
)
_derivative = _primitive(
    "stepfold_derivative",
    _tangents,
    lambda *values, scan, perturbed: scan.results(values[: scan.count], False),
)
_backward = _primitive(
    "stepfold_scan_backward",
    backward,
    lambda *values, scan, perturbed, arrived: scan.gradients(values[: scan.count], perturbed),
    lambda count, scan, perturbed, arrived: Rows(
        (*scan.by_row, *(True,) * (count - scan.count)),
        tuple(row for row, wish in zip(scan.by_row, perturbed, strict=True) if wish),
        residuals=scan.count,
    ),
)


# ---- rules ------------------------------------------------------------------------------------------------


def _is_zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero or tangent.dtype == jax.dtypes.float0


def _forward_jvp(primals: Any, tangents: Any, *, scan: Scan, training: bool) -> tuple[Any, Any]:
    perturbed = tuple(not _is_zero(tangent) for tangent in tangents)
    if any(scan.operands(perturbed).extra):
        raise NotImplementedError(
            "the masks of dropout and zoneout have no gradient; wrap them in jax.lax.stop_gradient"
        )
    *found, residuals = _forward.bind(*primals, scan=scan, training=True)
    given = [tangent for tangent, wish in zip(tangents, perturbed, strict=True) if wish]
    pushed = list(_derivative.bind(*primals, residuals, *given, scan=scan, perturbed=perturbed))
    if training:
        found, pushed = [*found, residuals], [*pushed, _no_tangent(residuals)]
    return found, pushed


def _no_tangent(value: Any) -> Any:
    return ad.Zero(jax.core.ShapedArray(value.shape, jax.dtypes.float0))


def _derivative_transpose(cotangents: Sequence[Any], *values: Any, scan: Scan, perturbed: Flags) -> list[Any]:
    arrived = tuple(type(cotangent) is not ad.Zero for cotangent in cotangents)
    given = [cotangent for cotangent, has in zip(cotangents, arrived, strict=True) if has]
    known = values[: scan.count + 1]
    found = _backward.bind(*known, *given, scan=scan, perturbed=perturbed, arrived=arrived)
    return [*(None for _ in known), *found]


def _by_loop(function: Callable[..., list[Any]], what: str) -> Callable[..., Any]:
    """The derivative rule of what a loop of JAX operations computes."""

    def rule(primals: Any, tangents: Any, **options: Any) -> tuple[Any, Any]:
        moving = [k for k, tangent in enumerate(tangents) if not _is_zero(tangent)]
        _warn(what)

        def of(*changed: Any) -> list[Any]:
            full = list(primals)
            for k, value in zip(moving, changed, strict=True):
                full[k] = value
            return function(*full, **options)

        found, pushed = jax.jvp(of, [primals[k] for k in moving], [tangents[k] for k in moving])
        return found, pushed

    return rule


def _warn(what: str) -> None:
    warn_once(
        f"stepfold has no fused kernel for {what}: a loop of JAX operations computes them, timestep by "
        "timestep"
    )


ad.primitive_jvps[_forward] = _forward_jvp
ad.primitive_jvps[_derivative] = _by_loop(_tangents, "second derivatives")
ad.primitive_jvps[_backward] = _by_loop(_gradients, "second derivatives")
ad.primitive_transposes[_derivative] = _derivative_transpose
batching.primitive_batchers[_forward] = functools.partial(_jax_batching.forward, _forward)
batching.primitive_batchers[_derivative] = functools.partial(_jax_batching.mapped, _tangents)
batching.primitive_batchers[_backward] = functools.partial(_jax_batching.backward, _forward, _backward)
