"""The scan for Keras's NumPy backend, which knows no gradients."""

from __future__ import annotations

from typing import Any

from .._runtime import Call, Recipe, engine_for


def scan(
    recipe: Recipe,
    sequences: bool,
    inputs: Any,
    tokens: Any,
    side: Any,
    mask: Any,
    initial: tuple[Any, ...],
    extra: tuple[Any, ...],
    weights: tuple[Any, ...],
) -> tuple[Any, tuple[Any, ...]]:
    """Run a recipe over a batch; returns (outputs or None, last states). What is not there is None."""
    engine = engine_for(recipe.step, recipe.units, inputs.dtype)
    found = Call(engine, recipe, inputs, weights, tokens, mask, initial, extra, side).forward(
        outputs=sequences, training=False
    )
    return found.outputs, tuple(found.last)


def unsupported_reason(array: Any) -> str | None:
    """Return why the kernels cannot run, None if they can."""
    return None
