"""The scan for Keras's NumPy backend, which knows no gradients."""

from __future__ import annotations

from typing import Any

from .._runtime import Call, Recipe, engine_for
from ._tokens import Operands


def scan(recipe: Recipe, sequences: bool, given: Operands) -> tuple[Any, tuple[Any, ...]]:
    """Run a recipe over a batch; returns (outputs or None, last states)."""
    inputs, tokens, side, named, mask, initial, extra, weights = given
    engine = engine_for(recipe.step, recipe.units, given.dtype, recipe.sizes)
    call = Call(engine, recipe, inputs, weights, tokens, mask, initial, extra, side, named=named)
    found = call.forward(outputs=sequences, training=False)
    return found.outputs, tuple(found.last)


def unsupported_reason(array: Any) -> str | None:
    """Return why the kernels cannot run, None if they can."""
    return None
