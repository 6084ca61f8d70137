"""What the values of a user's forward are in a Model: what comes out of some layers, states, sizes."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from .. import model as data
from ._exported import RefusedError

Layers = tuple[data.Layer, ...]


@dataclass(frozen=True)
class Values:
    """What comes out of some layers: (batch, time, features), or without `time` (batch, features).

    `swapped`: the axes of batch and time are exchanged, compared with the input. `squeezed`: its one feature
    has no axis. `logarithm`: the logarithm of a softmax, which is left out.
    """

    layers: Layers
    time: bool = True
    swapped: bool = False
    squeezed: bool = False
    logarithm: bool = False


@dataclass(frozen=True)
class Called:
    """What a recurrent module returns, (output, states): its input and its layers, each with its
    directions. `states` is how many states it has; `own_output`: its output is none of them."""

    before: Values
    levels: list[tuple[data.RecurrentLayer, ...]]
    states: int
    own_output: bool = False

    @functools.cached_property
    def layers(self) -> list[data.Layer]:
        """The layers as those of a Model."""
        return [
            each[0] if len(each) == 1 else data.BidirectionalLayer(each[0], each[1]) for each in self.levels
        ]

    @property
    def output(self) -> Values:
        """The sequence that comes out."""
        return replace(self.before, layers=(*self.before.layers, *self.layers))


@dataclass(frozen=True)
class States:
    """The last states of all layers and directions, of one state or a tuple of several."""

    called: Called
    chosen: bool


@dataclass(frozen=True)
class Last:
    """The last state (batch, units) of one direction of the layer behind `before`."""

    before: Layers
    layer: data.RecurrentLayer

    @property
    def values(self) -> Values:
        """The same as values."""
        return Values((*self.before, replace(self.layer, return_sequences=False)), time=False)


@dataclass(frozen=True)
class Found:
    """What `max` over an axis returns: the maxima, and their places."""

    values: Values


ZEROS = object()
"""A tensor of zeros."""

OTHER = object()
"""A value that is neither an input nor what a layer gives."""


class BatchAxis:
    """Whether the input's first axis is the batch: known once something tells time and batch apart."""

    def __init__(self) -> None:
        self.batch_first: bool | None = None

    def settle(self, values: Values, batch_first: bool, what: str) -> None:
        """Note that of these values the batch is, or is not, the first axis."""
        input_first = batch_first != values.swapped
        if self.batch_first is None:
            self.batch_first = input_first
        elif self.batch_first != input_first:
            raise RefusedError(f"{what} takes for time what is the batch elsewhere; see batch_first")

    def check_time(self, values: Values, axis: int, what: str) -> None:
        """Raise unless an axis of these values is time."""
        if axis not in (0, 1):
            raise RefusedError(f"{what} is over axis {axis}, and must be over time")
        self.settle(values, axis == 1, what)


def values_of(value: Any) -> Values:
    """Return a value as the values of some layers."""
    if isinstance(value, Last):
        return value.values
    if not isinstance(value, Values):
        raise RefusedError("it takes what no layer of a Model gives")
    if value.logarithm:
        raise RefusedError("nothing may stand behind a log_softmax")
    return value


def then(value: Any, *layers: data.Layer) -> Values:
    """Return what comes out if some more layers follow."""
    values = values_of(value)
    if values.squeezed and any(not isinstance(layer, data.ActivationLayer) for layer in layers):
        raise RefusedError("nothing but an activation may stand behind squeeze(-1)")
    return replace(values, layers=(*values.layers, *layers))


def is_zero(value: Any) -> bool:
    """Whether an initial state is zero, as a Model's is."""
    if isinstance(value, (tuple, list)):
        return all(map(is_zero, value))
    return value is None or value is ZEROS or (isinstance(value, Tensor) and not value.any())
