"""What goes on besides recurrent layers: running maxima and sums of rows in slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._check import Flow
from ._layers import Layer, PoolingLayer, RecurrentLayer
from ._signal import Signal

if TYPE_CHECKING:
    from ._model import Model


def pools(layer: Layer) -> bool:
    """Whether a layer pools over more than the last timestep."""
    return isinstance(layer, PoolingLayer) and layer.kind != "last"


def starting_values(model: Model, of: Iterable[tuple[str, Layer, Flow]]) -> dict[str, Array]:
    """Return by name what a row has before its first timestep; `of` are the model's layers, each with where
    it is and what it takes."""
    found = {"outputs": np.full(model.width, np.nan, model.dtype)}
    for k, layer, flow in of:
        if isinstance(layer, RecurrentLayer) and layer.cell.step.output:
            found[f"{k} output"] = np.zeros(layer.width, model.dtype)
        if isinstance(layer, PoolingLayer) and pools(layer):
            width, kinds = flow.features or 0, layer.kind.split("_")
            found[f"{k} count"] = np.zeros((), np.int64)
            if "max" in kinds:
                found[f"{k} max"] = np.full(width, -np.inf, model.dtype)
            if "mean" in kinds or "sum" in kinds:
                found[f"{k} sum"] = np.zeros(width, np.float64)
    return found


class SlotTable:
    """Arrays by name, each with a row for every slot; a slot starts with the values of `starts`."""

    def __init__(self, capacity: int, starts: Mapping[str, Array]) -> None:
        self._starts = dict(starts)
        self.arrays = {name: self._full(name, capacity) for name in starts}

    def _full(self, name: str, capacity: int) -> Array:
        start = self._starts[name]
        array = np.empty((capacity, *start.shape), start.dtype)
        array[...] = start
        return array

    def of(self, k: str) -> dict[str, Array]:
        """The arrays of the layer at k, by what they hold."""
        begin = f"{k} "
        return {n.removeprefix(begin): a for n, a in self.arrays.items() if n.startswith(begin)}

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Have rows start anew."""
        for name, array in self.arrays.items():
            array[slots] = self._starts[name]

    def resize(self, capacity: int, kept: NDArray[np.int64] | None = None) -> None:
        """Have so many slots: the first hold what those of `kept` did (None: all), the others start."""
        self.restore({n: a if kept is None else a[kept] for n, a in self.arrays.items()}, capacity)

    def restore(self, arrays: Mapping[str, Array], capacity: int) -> None:
        """Have so many slots, of which the first hold what these arrays do."""
        found = {name: self._full(name, capacity) for name in self._starts}
        for name, array in found.items():
            array[: len(arrays[name])] = arrays[name]
        self.arrays = found

    def fits(self, arrays: Mapping[str, Any], count: int) -> bool:
        """Whether these are arrays of so many rows of such a table."""
        return all(
            name in arrays
            and arrays[name].dtype == start.dtype
            and arrays[name].shape == (count, *start.shape)
            for name, start in self._starts.items()
        )


def pooled(layer: PoolingLayer, held: Mapping[str, Array], signal: Signal, slots: NDArray[np.int64]) -> Array:
    """Take one timestep, (n, 1, features), into what the slots hold; return what is pooled so far, (n,
    features), of two kinds twice as many."""
    values, every = signal.vectors()[:, 0], _place(slots)
    here, new = every, values
    if signal.mask is not None and layer.masked:
        active = signal.mask[:, 0]
        here, new = slots[active], values[active]
    held["count"][here] += 1
    parts = []
    if "max" in held:
        held["max"][here] = np.maximum(held["max"][here], new)
        greatest = held["max"][every]
        parts.append(np.where(held["count"][every][:, None] > 0, greatest, 0))
    if "sum" in held:
        held["sum"][here] += new
        total = held["sum"][every]
        counts = np.maximum(held["count"][every], 1)[:, None]
        parts.append(total if layer.kind == "sum" else total / counts)
    return np.concatenate(parts, axis=-1, dtype=values.dtype, casting="same_kind")


def _place(slots: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return slots as a slice where they are the first ones in order: reading a slice copies nothing."""
    first = len(slots) > 1 and slots[0] == 0 and slots[-1] == len(slots) - 1
    return slice(len(slots)) if first and (np.diff(slots) == 1).all() else slots
