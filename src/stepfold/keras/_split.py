"""Several inputs of a cell, which stand one after the other on the last axis of a layer's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._dims import axes_text, count_of
from .._graph import FEATURES
from .._step import Step


def split(step: Step, inputs: Any, sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """Cut the last axis into the inputs of a step: that without a name (None: there is none), and those with
    one, in their order."""
    if not step.inputs:
        return inputs, {}
    found = {name: inputs[..., at] for name, at in step.columns(inputs.shape[-1], sizes).items()}
    return found.pop("", None), found


def features_of(step: Step, width: int, sizes: Mapping[str, int]) -> int:
    """Return how many features an input of so many elements has beside the others of a step; ValueError if
    that is no number."""
    inputs = {**({"": FEATURES} if step.takes_features else {}), **step.inputs}
    wide = sum(dims == FEATURES for dims in inputs.values())
    fixed = sum(count_of(dims, sizes) for dims in inputs.values() if dims != FEATURES)
    if not wide and width == fixed:
        return 1
    if not wide or width <= fixed or (width - fixed) % wide:
        told = ", ".join(
            f"{name or 'x'} {axes_text(dims) if dims else 'an integer'}" for name, dims in inputs.items()
        )
        raise ValueError(
            f"{step.name} takes {told} one after the other on the last axis of the input, which has {width} "
            f"elements, not {f'more than {fixed}' if wide else fixed}"
        )
    return (width - fixed) // wide
