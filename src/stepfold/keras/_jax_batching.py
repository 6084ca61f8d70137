"""`jax.vmap` of the scan: a batch axis more is a larger batch; one example after the other where each has
weights of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ._jax_kernels import Scan

Axes = Sequence[int | None]
"""For each array the axis that `vmap` maps over; None for one that is the same for all examples."""


def mapped(function: Callable[..., list[Any]], values: Sequence[Any], axes: Axes, **options: Any) -> Any:
    """Map plain JAX operations as JAX does."""
    found = jax.vmap(lambda *each: function(*each, **options), in_axes=tuple(axes))(*values)
    return found, [0] * len(found)


def forward(primitive: Any, flat: Sequence[Any], axes: Axes, *, scan: Scan, training: bool) -> Any:
    """Run one larger batch, whose residuals belong to all examples."""
    if not _serves(scan, axes):
        return _each(lambda *own: primitive.bind(*own, scan=scan, training=training), flat, axes)
    size = _size(flat, axes)
    found = list(primitive.bind(*_folded(scan, flat, axes, size), scan=scan, training=training))
    whole = [found.pop()] if training else []
    return [*(_unfolded(each, size) for each in found), *whole], [0] * len(found) + [None] * len(whole)


def backward(
    scan_primitive: Any, primitive: Any, values: Sequence[Any], axes: Axes, *, scan: Scan, **options: Any
) -> Any:
    """Run one larger batch where the forward pass did, and where no gradient is a sum over rows."""
    flat, of_flat = values[: scan.count], axes[: scan.count]
    residuals, cotangents = values[scan.count], values[scan.count + 1 :]
    of_residuals, of_cotangents = axes[scan.count], axes[scan.count + 1 :]
    folded = of_residuals is None and any(axis is not None for axis in of_flat)
    wish = scan.operands(options["perturbed"])
    summed = any(wish.weights) or (bool(wish.inputs) and scan.recipe.tokens)
    size = _size(values, axes)
    if folded and not summed:
        own = _folded(scan, flat, of_flat, size)
        given = [_fold(c, axis, size) for c, axis in zip(cotangents, of_cotangents, strict=True)]
        found = primitive.bind(*own, residuals, *given, scan=scan, **options)
        return [_unfolded(each, size) for each in found], [0] * len(found)
    if not folded:
        return _each(lambda *own: primitive.bind(*own, scan=scan, **options), values, axes)

    def one(*own: Any) -> list[Any]:  # the residuals of one larger batch are of no use to one example
        mine, given = own[: scan.count], own[scan.count :]
        *_, saved = scan_primitive.bind(*mine, scan=scan, training=True)
        return list(primitive.bind(*mine, saved, *given, scan=scan, **options))

    return _each(one, [*flat, *cotangents], [*of_flat, *of_cotangents])


def _serves(scan: Scan, axes: Axes) -> bool:
    """Whether the examples can be rows of one batch: with the same weights and table."""
    # None would be no leaf of a tree
    over = scan.operands([axis is not None for axis in axes])
    return not any(over.weights) and not (scan.recipe.tokens and over.inputs)


def _size(values: Sequence[Any], axes: Axes) -> int:
    return next(int(v.shape[axis]) for v, axis in zip(values, axes, strict=True) if axis is not None)


def _folded(scan: Scan, flat: Sequence[Any], axes: Axes, size: int) -> list[Any]:
    """The flat arrays of all examples as those of one batch: their rows one after the other."""
    return [
        _fold(value, axis, size) if row else value
        for row, value, axis in zip(scan.by_row, flat, axes, strict=True)
    ]


def _fold(value: Any, axis: int | None, size: int) -> Any:
    if axis is None:
        leading = jnp.broadcast_to(value, (size, *value.shape))
    else:
        leading = jnp.moveaxis(value, axis, 0)
    return leading.reshape(size * leading.shape[1], *leading.shape[2:])


def _unfolded(value: Any, size: int) -> Any:
    return value.reshape(size, value.shape[0] // size, *value.shape[1:])


def _each(function: Callable[..., list[Any]], values: Sequence[Any], axes: Axes) -> Any:
    """Call a function for one example after the other."""
    over = [k for k, axis in enumerate(axes) if axis is not None]
    stacked = [jnp.moveaxis(values[k], axis, 0) for k, axis in enumerate(axes) if axis is not None]

    def one(own: Sequence[Any]) -> list[Any]:
        full = list(values)
        for k, value in zip(over, own, strict=True):
            full[k] = value
        return list(function(*full))

    found = jax.lax.map(one, stacked)
    return found, [0] * len(found)
