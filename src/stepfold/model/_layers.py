"""The layers that a model may have: arrays and choices as data, and what each computes with NumPy and scan.

Every layer takes and returns a `Signal`. Nothing here knows a framework or a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .._cell import Cell
from .._dtype import checked_dtype
from .._language import ACTIVATIONS
from .._runtime import checked_params, scan

Array = NDArray[Any]

Merge = Literal["concat", "sum", "mul", "ave"]
Pool = Literal["max", "mean", "max_mean", "last"]
MERGES, POOLS = get_args(Merge), get_args(Pool)


def _checked_array(name: str, array: Any, axes: tuple[str, ...]) -> None:
    """ValueError or TypeError unless this is an array of floats with these axes, none of them empty."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array ({', '.join(axes)}), not {type(array).__name__}")
    if array.ndim != len(axes) or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected ({', '.join(axes)}), none of them 0")
    checked_dtype(array.dtype)


def _checked_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


@dataclass(frozen=True, eq=False)
class Signal:
    """What passes from layer to layer.

    Args:
        values: (batch, time) ids, (batch, time, features), or (batch, features) once there is no time left.
        mask: (batch, time) booleans, True where a timestep is active; None if all are, or time is gone.
        table: (vocabulary_size, features), from which `values`, ids, choose rows; None for numbers.
    """

    values: Array
    mask: Array | None = None
    table: Array | None = None

    def vectors(self) -> Array:
        """Return the values as numbers, ids replaced by their rows of the table."""
        return self.values if self.table is None else self.table[self.values]


def _both(mask: Array | None, other: Array) -> Array:
    """Return a mask of the timesteps that are active in both."""
    return other if mask is None else mask & other


@dataclass(frozen=True, eq=False)
class EmbeddingLayer:
    """Rows of a table (vocabulary_size, features), chosen by ids; with `mask_zero` the id 0 is masked."""

    table: Array = field(repr=False)
    mask_zero: bool = False

    def __post_init__(self) -> None:
        _checked_array("table", self.table, ("vocabulary_size", "features"))

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time) ids → (batch, time, features); IndexError for an id outside the table."""
        ids = signal.values
        if ids.dtype.kind not in "iu":
            raise TypeError(f"an embedding takes integers (batch, time), not {ids.dtype}")
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self.table):
            raise IndexError(
                f"the ids run from {ids.min()} to {ids.max()}, but the table has {len(self.table)} rows: "
                f"give ids from 0 to {len(self.table) - 1}"
            )
        mask = _both(signal.mask, ids != 0) if self.mask_zero else signal.mask
        return Signal(ids, mask, self.table)


@dataclass(frozen=True, eq=False)
class MaskingLayer:
    """Masks the timesteps whose features all equal `value`, as `keras.layers.Masking` does."""

    value: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.value, (int, float)) or not np.isfinite(self.value):
            raise ValueError(f"the masked value must be a finite number, not {self.value!r}")

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time, features) → the same, 0 where masked."""
        vectors = signal.vectors()
        mask = _both(signal.mask, np.any(vectors != self.value, axis=-1))
        return Signal(np.where(mask[..., None], vectors, 0).astype(vectors.dtype), mask)


@dataclass(frozen=True, eq=False)
class AffineLayer:
    """`values * scale + shift`, both (features,): normalisation with fixed statistics."""

    scale: Array = field(repr=False)
    shift: Array = field(repr=False)

    def __post_init__(self) -> None:
        for name, array in (("scale", self.scale), ("shift", self.shift)):
            _checked_array(name, array, ("features",))
        if self.scale.shape != self.shift.shape:
            raise ValueError(f"scale has shape {self.scale.shape}, shift {self.shift.shape}; give them alike")

    def __call__(self, signal: Signal) -> Signal:
        """(…, features) → (…, features)."""
        return Signal(signal.vectors() * self.scale + self.shift, signal.mask)


@dataclass(frozen=True, eq=False)
class RecurrentLayer:
    """A cell over time, from zero states: `params` as `cell.parameter_shapes` says.

    With `return_sequences` the output is the first state after every timestep, in the order of the input,
    else after the last one. A masked timestep keeps the state and repeats the output.
    """

    cell: Cell
    params: Mapping[str, Array] = field(repr=False)
    reverse: bool = False
    return_sequences: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.cell, Cell):
            raise TypeError(
                f"a recurrent layer needs a cell (a function under @cell), not {type(self.cell).__name__}"
            )
        if self.cell.step.leaves("row_input") or self.cell.step.leaves("step_input"):
            raise ValueError(
                f"{self.cell.name} asks for values that only training gives (dropout); give the cell without"
            )
        if not isinstance(self.params, Mapping) or not self.params:
            raise ValueError(f"params must map the names of {self.cell.name}'s parameters to arrays")
        first = np.asarray(next(iter(self.params.values())))
        checked_params(self.cell, self.params, checked_dtype(first.dtype))

    def _size(self, axis: str) -> int | None:
        for name, dims in self.cell.step.parameters.items():
            if axis in dims:
                return int(self.params[name].shape[dims.index(axis)])
        return None

    @property
    def units(self) -> int:
        """The number of units of every state."""
        return self._size("units") or 0

    @property
    def features(self) -> int | None:
        """The number of features of the input, as far as a parameter says it; None for any."""
        return self._size("features")

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time, features) → (batch, units), with `return_sequences` (batch, time, units)."""
        values, dtype = signal.values, next(iter(self.params.values())).dtype
        found = scan(
            self.cell,
            values if signal.table is not None else values.astype(dtype, copy=False),
            self.params,
            mask=signal.mask,
            reverse=self.reverse,
            return_sequences=self.return_sequences,
            table=signal.table,
        )
        return Signal(found, signal.mask if self.return_sequences else None)


@dataclass(frozen=True, eq=False)
class BidirectionalLayer:
    """Two recurrent layers over the same input, the second in reverse; `merge` as Keras names it."""

    forward: RecurrentLayer
    backward: RecurrentLayer
    merge: Merge = "concat"

    def __post_init__(self) -> None:
        _checked_choice("merge", self.merge, MERGES)
        if self.forward.reverse or not self.backward.reverse:
            raise ValueError("the forward layer must not be reversed, the backward layer must be")
        if self.forward.return_sequences != self.backward.return_sequences:
            raise ValueError("both directions must return sequences, or none")
        units = self.forward.units, self.backward.units
        if self.merge != "concat" and units[0] != units[1]:
            raise ValueError(
                f"merge {self.merge!r} needs directions of as many units, not {units[0]} and {units[1]}"
            )

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time, features) → (batch[, time], units), with "concat" 2 · units."""
        first, second = self.forward(signal), self.backward(signal)
        return replace(first, values=_merged(self.merge, first.values, second.values))


def _merged(merge: Merge, a: Array, b: Array) -> Array:
    if merge == "concat":
        return np.concatenate((a, b), axis=-1)
    if merge == "mul":
        return a * b
    return a + b if merge == "sum" else (a + b) / 2


@dataclass(frozen=True, eq=False)
class PoolingLayer:
    """Pools over time: the maximum, the mean, both (the maxima first), or the values at the last timestep.

    With `masked` the maximum and the mean leave masked timesteps out, and are 0 where all are masked. "last"
    is the last position, whatever the mask says.
    """

    kind: Pool
    masked: bool = True

    def __post_init__(self) -> None:
        _checked_choice("kind", self.kind, POOLS)

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time, features) → (batch, features), for "max_mean" (batch, 2 · features)."""
        values = signal.vectors()
        if self.kind == "last":
            return Signal(values[:, -1])
        mask = signal.mask if self.masked else None
        found = {
            "max": lambda: _maximum(values, mask),
            "mean": lambda: _mean(values, mask),
        }
        return Signal(np.concatenate([found[kind]() for kind in self.kind.split("_")], axis=-1))


def _maximum(values: Array, mask: Array | None) -> Array:
    if mask is None:
        return np.asarray(values.max(axis=1))
    found = values.max(axis=1, where=mask[..., None], initial=-np.inf)
    return np.where(mask.any(axis=1, keepdims=True), found, 0).astype(values.dtype)


def _mean(values: Array, mask: Array | None) -> Array:
    if mask is None:
        return np.asarray(values.mean(axis=1))
    count = np.maximum(mask.sum(axis=1), 1)[:, None].astype(values.dtype)  # (B, 1)
    found: Array = values.sum(axis=1, where=mask[..., None]) / count
    return found


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """`activation(values @ kernel + bias)`: kernel (features, outputs), bias (outputs,) or None."""

    kernel: Array = field(repr=False)
    bias: Array | None = field(default=None, repr=False)
    activation: str = "linear"

    def __post_init__(self) -> None:
        _checked_array("kernel", self.kernel, ("features", "outputs"))
        if self.bias is not None:
            _checked_array("bias", self.bias, ("outputs",))
            if self.bias.shape != self.kernel.shape[1:]:
                raise ValueError(
                    f"bias has shape {self.bias.shape}, but the kernel {self.kernel.shape} "
                    f"gives {self.kernel.shape[1]} outputs"
                )
        _checked_choice("activation", self.activation, ACTIVATIONS)

    def __call__(self, signal: Signal) -> Signal:
        """(…, features) → (…, outputs)."""
        found = signal.vectors() @ self.kernel
        if self.bias is not None:
            found += self.bias
        return Signal(ACTIVATIONS[self.activation](found), signal.mask)


@dataclass(frozen=True, eq=False)
class ActivationLayer:
    """A function of `ACTIVATIONS` by its name."""

    name: str

    def __post_init__(self) -> None:
        _checked_choice("name", self.name, ACTIVATIONS)

    def __call__(self, signal: Signal) -> Signal:
        """(…, features) → (…, features)."""
        return Signal(ACTIVATIONS[self.name](signal.vectors()), signal.mask)


Layer = (
    EmbeddingLayer
    | MaskingLayer
    | AffineLayer
    | RecurrentLayer
    | BidirectionalLayer
    | PoolingLayer
    | DenseLayer
    | ActivationLayer
)
