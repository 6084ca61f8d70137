"""The states of a scan in one tensor, as the operators return the last states and the gradients of the first.

States of one shape are stacked, (states, batch, units). Others lie one behind the other, each (batch, …) as
it is: the tensor has the shape (elements of all states, batch), whose first axis is the same for every batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._runtime import Recipe


def state_shapes(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    """The shape of each state of one row."""
    return recipe.state_shapes


# What torch.compiler.assume_constant_result does; that imports the compiler, which takes seconds.
state_shapes._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _are_alike(shapes: Sequence[tuple[int, ...]]) -> bool:
    return all(shape == shapes[0] for shape in shapes)


def states_shape(recipe: Recipe, batch: Any) -> tuple[Any, ...]:
    """The shape of the tensor that holds the states of so many rows."""
    shapes = state_shapes(recipe)
    return (len(shapes), batch, *shapes[0]) if _are_alike(shapes) else (sum(map(math.prod, shapes)), batch)


def split_states(recipe: Recipe, together: Tensor) -> Sequence[Tensor]:
    """Return each state, (batch, …), as a view."""
    shapes = state_shapes(recipe)
    if _are_alike(shapes):
        return list(together.unbind(0))
    parts = together.split([math.prod(shape) for shape in shapes])
    batch = together.shape[1]
    return [part.reshape(batch, *shape) for part, shape in zip(parts, shapes, strict=True)]


def joined_states(recipe: Recipe, states: Sequence[Tensor]) -> Tensor:
    """Return the tensor that holds these states."""
    shapes = state_shapes(recipe)
    if _are_alike(shapes):
        return torch.stack(list(states))
    pairs = zip(states, shapes, strict=True)
    return torch.cat([state.reshape(math.prod(shape), state.shape[0]) for state, shape in pairs])


def state_addresses(recipe: Recipe, together: Tensor) -> list[int]:
    """Return where each state of a contiguous tensor lies."""
    unit, address = together.shape[1] * together.element_size(), together.data_ptr()
    found = []
    for shape in state_shapes(recipe):
        found.append(address)
        address += math.prod(shape) * unit
    return found
