"""The layers that a model may have: arrays and choices as data, and what each computes with NumPy and scan.

Every layer takes and returns a `Signal`. Nothing here knows a framework or a file. `_evidence_layers.py` has
those of an ensemble, `_concatenate.py` branches side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from .._cell import Cell
from .._language import ACTIVATIONS
from .._runtime import scan
from ._arrays import Array, checked_array, checked_choice
from ._cell_sizes import CellSizes
from ._concatenate import ConcatenateLayer
from ._evidence_layers import EnsembleLayer, EvidenceLayer, JoinEvidenceLayer
from ._signal import Signal

Merge = Literal["concat", "sum", "mul", "ave"]
Pool = Literal["max", "mean", "sum", "max_mean", "last"]
MERGES, POOLS = get_args(Merge), get_args(Pool)


def _both(mask: Array | None, other: Array) -> Array:
    """Return a mask of the timesteps that are active in both."""
    return other if mask is None else mask & other


@dataclass(frozen=True, eq=False)
class EmbeddingLayer:
    """Rows of a table (vocabulary_size, features), chosen by ids; with `mask_zero` the id 0 is masked."""

    table: Array = field(repr=False)
    mask_zero: bool = False

    def __post_init__(self) -> None:
        checked_array("table", self.table, ("vocabulary_size", "features"))

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
        return replace(signal, mask=mask, table=self.table)


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
        return signal.with_values(np.where(mask[..., None], vectors, 0).astype(vectors.dtype), mask)


@dataclass(frozen=True, eq=False)
class AffineLayer:
    """`values * scale + shift`, both (features,): normalisation with fixed statistics."""

    scale: Array = field(repr=False)
    shift: Array = field(repr=False)

    def __post_init__(self) -> None:
        for name, array in (("scale", self.scale), ("shift", self.shift)):
            checked_array(name, array, ("features",))
        if self.scale.shape != self.shift.shape:
            raise ValueError(f"scale has shape {self.scale.shape}, shift {self.shift.shape}; give them alike")

    def __call__(self, signal: Signal) -> Signal:
        """(…, features) → (…, features)."""
        return signal.with_values(signal.vectors() * self.scale + self.shift, signal.mask)


@dataclass(frozen=True, eq=False)
class RecurrentLayer:
    """A cell over time, from zero states: `params` as `cell.parameter_shapes` says.

    With `return_sequences` the output is that after every timestep, in the order of the input, else after the
    last one. A masked timestep keeps the state and repeats the output. The inputs of a cell with several
    stand side by side on the last axis, in the cell's order; one without a name has what the others leave.
    """

    cell: Cell
    params: Mapping[str, Array] = field(repr=False)
    reverse: bool = False
    return_sequences: bool = False
    sizes: CellSizes = field(init=False, repr=False)
    """Of the cell's axes."""

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
        object.__setattr__(self, "sizes", CellSizes(self.cell, self.params))

    @property
    def units(self) -> int:
        """The number of units."""
        return self.sizes.units

    @property
    def width(self) -> int:
        """The number of features of the output."""
        return self.sizes.width

    @property
    def features(self) -> int | None:
        """The number of features of all inputs together, as far as a parameter says it; None for any."""
        return self.sizes.features

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time, features) → (batch, width), with `return_sequences` (batch, time, width)."""
        found = self.scan(signal, mask=signal.mask, return_sequences=self.return_sequences)
        return signal.with_values(found, signal.mask if self.return_sequences else None)

    def scan(self, signal: Signal, **options: Any) -> Any:
        """Run the cell over a signal; options and results are those of `stepfold.scan`."""
        dtype = next(iter(self.params.values())).dtype
        values: Any = signal.values
        by_tokens = signal.table is not None and not self.cell.step.inputs
        if not by_tokens:
            values = self.sizes.split(signal.vectors().astype(dtype, copy=False))
        given: dict[str, Any] = {"table": signal.table, "side": signal.side} if by_tokens else {}
        return scan(self.cell, values, self.params, reverse=self.reverse, **given, **options)


@dataclass(frozen=True, eq=False)
class BidirectionalLayer:
    """Two recurrent layers over the same input, the second in reverse; `merge` as Keras names it."""

    forward: RecurrentLayer
    backward: RecurrentLayer
    merge: Merge = "concat"

    def __post_init__(self) -> None:
        checked_choice("merge", self.merge, MERGES)
        if self.forward.reverse or not self.backward.reverse:
            raise ValueError("the forward layer must not be reversed, the backward layer must be")
        if self.forward.return_sequences != self.backward.return_sequences:
            raise ValueError("both directions must return sequences, or none")
        widths = self.forward.width, self.backward.width
        if self.merge != "concat" and widths[0] != widths[1]:
            raise ValueError(
                f"merge {self.merge!r} needs directions of as many units, not {widths[0]} and {widths[1]}"
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
    """Pools over time: the maximum, the mean, the sum, "max_mean" (the maxima, then the means), or the values
    at the last timestep.

    With `masked` all but "last" leave masked timesteps out, and are 0 where all are masked. "last" is the
    last position, whatever the mask says.
    """

    kind: Pool
    masked: bool = True

    def __post_init__(self) -> None:
        checked_choice("kind", self.kind, POOLS)

    def __call__(self, signal: Signal) -> Signal:
        """(batch, time, features) → (batch, features), for "max_mean" (batch, 2 · features)."""
        values = signal.vectors()
        if self.kind == "last":
            return signal.with_values(values[:, -1])
        mask = signal.mask if self.masked else None
        found = {
            "max": lambda: _maximum(values, mask),
            "mean": lambda: _mean(values, mask),
            "sum": lambda: _sum(values, mask),
        }
        pooled = np.concatenate([found[kind]() for kind in self.kind.split("_")], axis=-1)
        return signal.with_values(pooled)


def _maximum(values: Array, mask: Array | None) -> Array:
    if mask is None:
        return np.asarray(values.max(axis=1))
    found = values.max(axis=1, where=mask[..., None], initial=-np.inf)
    return np.where(mask.any(axis=1, keepdims=True), found, 0).astype(values.dtype)


def _mean(values: Array, mask: Array | None) -> Array:
    if mask is None:
        return np.asarray(values.mean(axis=1))
    count = np.maximum(mask.sum(axis=1), 1)[:, None].astype(values.dtype)  # (B, 1)
    found: Array = _sum(values, mask) / count
    return found


def _sum(values: Array, mask: Array | None) -> Array:
    return np.asarray(values.sum(axis=1, where=True if mask is None else mask[..., None]))


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """`activation(values @ kernel + bias)`: kernel (features, outputs), bias (outputs,) or None."""

    kernel: Array = field(repr=False)
    bias: Array | None = field(default=None, repr=False)
    activation: str = "linear"

    def __post_init__(self) -> None:
        checked_array("kernel", self.kernel, ("features", "outputs"))
        if self.bias is not None:
            checked_array("bias", self.bias, ("outputs",))
            if self.bias.shape != self.kernel.shape[1:]:
                raise ValueError(
                    f"bias has shape {self.bias.shape}, but the kernel {self.kernel.shape} "
                    f"gives {self.kernel.shape[1]} outputs"
                )
        checked_choice("activation", self.activation, ACTIVATIONS)

    def __call__(self, signal: Signal) -> Signal:
        """(…, features) → (…, outputs)."""
        found = signal.vectors() @ self.kernel
        if self.bias is not None:
            found += self.bias
        return signal.with_values(ACTIVATIONS[self.activation](found), signal.mask)


@dataclass(frozen=True, eq=False)
class ActivationLayer:
    """A function of `ACTIVATIONS` by its name."""

    name: str

    def __post_init__(self) -> None:
        checked_choice("name", self.name, ACTIVATIONS)

    def __call__(self, signal: Signal) -> Signal:
        """(…, features) → (…, features)."""
        return signal.with_values(ACTIVATIONS[self.name](signal.vectors()), signal.mask)


Layer = (
    EmbeddingLayer
    | MaskingLayer
    | AffineLayer
    | RecurrentLayer
    | BidirectionalLayer
    | PoolingLayer
    | DenseLayer
    | ActivationLayer
    | ConcatenateLayer
    | EvidenceLayer
    | JoinEvidenceLayer
    | EnsembleLayer
)
