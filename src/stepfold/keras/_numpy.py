"""The fold for Keras's NumPy backend, which knows no gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._recipe import Forward, Recipe


def fold(
    recipe: Recipe,
    sequences: bool,
    inputs: Any,
    tokens: Any,
    mask: Any,
    initial: tuple[Any, ...],
    extra: tuple[Any, ...],
    weights: tuple[Any, ...],
) -> tuple[Any, tuple[Any, ...]]:
    """Fold a step over a batch; returns (outputs or None, last states). What is not there is None."""
    batch, time = (inputs if tokens is None else tokens).shape[:2]
    states = tuple(np.empty((batch, recipe.units), inputs.dtype) for _ in recipe.step.states)
    outputs = np.empty((batch, time, recipe.units), inputs.dtype) if sequences else None
    given = [value for value in (inputs, tokens, mask) if value is not None]
    arguments = [np.ascontiguousarray(value) for value in (*given, *initial, *extra, *weights)]
    Forward(recipe, sequences, False).run(arguments, [*([] if outputs is None else [outputs]), *states])
    return outputs, states


def why_not(array: Any) -> str | None:
    """Return why the fold cannot run, None if it can."""
    return None
