"""What a recurrent layer of a model takes and gives: the sizes of its cell's inputs, states and output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._cell import Cell
from .._dims import size_of
from .._dtype import checked_dtype
from .._graph import Dims
from .._runtime import checked_sizes
from ._arrays import Array

MOST_ELEMENTS = 2**24
"""Of all states of one row."""
_EXACT = 2**24


class CellSizes:
    """The sizes of a cell's axes, from its parameters' shapes."""

    def __init__(self, cell: Cell, params: Mapping[str, Array]) -> None:
        first = np.asarray(next(iter(params.values())))
        _, self.sizes = checked_sizes(cell, params, checked_dtype(first.dtype))
        self._step = cell.step
        output = self.shape(cell.step.dims_of(cell.step.states[0]))
        if len(output) != 1:
            raise ValueError(f"the output of {cell.name} is a matrix {output}; a layer gives a vector")
        self.width = output[0]
        states = {state: self.shape(cell.step.dims_of(state)) for state in cell.step.states}
        self.states = {name: states[name] for name in cell.states}
        elements = sum(map(math.prod, states.values()))
        if elements > MOST_ELEMENTS:
            raise ValueError(
                f"the states of {cell.name} have {elements:,} elements, more than {MOST_ELEMENTS:,}"
            )
        counts = [len(params[table]) for table in cell.step.tables]
        if max(counts, default=0) > _EXACT and first.dtype == np.float32:
            raise ValueError(
                f"a model reads integers as float32, which has them up to {_EXACT:,}, but a parameter of "
                f"{cell.name} has {max(counts):,} rows; give float64 arrays"
            )

    def shape(self, dims: Dims) -> tuple[int, ...]:
        """Return the shape of a value of one row."""
        return tuple(size_of(axis, self.sizes) for axis in dims)

    @property
    def units(self) -> int:
        """The number of units; without such an axis, the width of the output."""
        return self.sizes.get("units", self.width)

    @property
    def features(self) -> int | None:
        """How many features all inputs have together; None for any number."""
        named = sum(math.prod(self.shape(dims)) for dims in self._step.inputs.values())
        if not self._step.takes_features:
            return named
        own = self.sizes.get("features")
        return None if own is None else own + named

    def split(self, values: Array) -> Any:
        """Return what `scan` and `Stream` take: the inputs, which stand side by side on the last axis in the
        order of the cell; that without a name has what the others leave. ValueError for an integer input that
        holds others than integers."""
        if not self._step.inputs:
            return values
        columns = self._step.columns(values.shape[-1], self.sizes)
        if len(columns) == 1 and not self._step.integers:
            return values
        found = [
            self._integers(name, values[..., at.start])
            if name in self._step.integers
            else np.ascontiguousarray(values[..., at])
            for name, at in columns.items()
        ]
        return tuple(found) if len(found) > 1 else found[0]

    def _integers(self, name: str, values: Array) -> Array:
        with np.errstate(invalid="ignore"):  # NaN, which is none
            found = np.asarray(values, np.int64)
        if (found != values).any():
            raise ValueError(
                f"the input {name} of {self._step.name} holds integers, which choose rows of a parameter, "
                f"and not {values[found != values][0]:g}"
            )
        return found
