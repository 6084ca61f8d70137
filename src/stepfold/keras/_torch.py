"""The scan in PyTorch, for Keras's torch backend."""

from __future__ import annotations

from typing import Any

from .._runtime import Recipe


def scan(
    recipe: Recipe,
    sequences: bool,
    inputs: Any,
    tokens: Any,
    mask: Any,
    initial: tuple[Any, ...],
    extra: tuple[Any, ...],
    weights: tuple[Any, ...],
) -> tuple[Any, tuple[Any, ...]]:
    """Run a recipe over a batch; returns (outputs or None, last states). What is not there is None."""
    raise NotImplementedError
