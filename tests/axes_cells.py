"""Problems of cells whose values have axes of their own, with the reference's answer: what every adapter is
compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepfold import Cell, cells
from stepfold._dims import size_of
from stepfold._reference import Reference
from tests.core.test_core_axes import CELLS, SIZES

UNITS, FEATURES = SIZES["units"], SIZES["features"]
BUILT_IN = ("mogrifier_lstm", "phased_lstm", "gru_d", "fast_weights", "mlstm", "s4d")
"""Built-in cells with sizes, inputs or matrices of their own."""
ALL: tuple[Cell, ...] = (*CELLS, *(getattr(cells, name) for name in BUILT_IN))
Array = np.ndarray[Any, Any]


@dataclass
class AxesProblem:
    """A batch (batch, time, …) for a cell, and the reference's answer; `inputs` in the cell's order."""

    cell: Cell
    dtype: str = "float64"
    batch: int = 3
    time: int = 5
    lengths: Sequence[int] | None = None
    reverse: bool = False
    seed: int = 0
    sizes: dict[str, int] = field(init=False)
    params: dict[str, Array] = field(init=False)
    inputs: list[Array] = field(init=False)
    initial: list[Array] = field(init=False)

    def __post_init__(self) -> None:
        step, random = self.cell.step, np.random.default_rng(self.seed)
        own = ("units", "features")
        self.sizes = {a: SIZES[a] for a in step.own_axes if a not in own}
        shapes = self.cell.parameter_shapes(features=FEATURES, units=UNITS, **self.sizes)

        def some(*shape: int) -> Array:
            return np.asarray(random.standard_normal(shape) * 0.6, self.dtype)

        def of(dims: Sequence[str]) -> tuple[int, ...]:
            return tuple(size_of(axis, SIZES) for axis in dims)

        self.params = {name: some(*shape) for name, shape in shapes.items()}
        axes = [("features",)] * step.takes_features + list(step.inputs.values())
        self.inputs = [some(self.batch, self.time, *of(dims)) for dims in axes]
        self.initial = [some(self.batch, *of(step.dims_of(state))) for state in self.cell.states]

    @property
    def input_size(self) -> int:
        """The features of the first input."""
        return int(self.inputs[0].shape[-1])

    @property
    def mask(self) -> Array:
        """(batch, time) booleans."""
        lengths = [self.time] * self.batch if self.lengths is None else self.lengths
        return np.arange(self.time) < np.asarray(lengths)[:, None]

    def reference(self, *, zeros: bool = False) -> Reference:
        """The answer in float64, from the initial states or from zeros."""
        step = self.cell.step
        wide = [a.astype("float64") for a in self.inputs]
        initial = [np.zeros_like(s, "float64") if zeros else s.astype("float64") for s in self.initial]
        if step.output:
            shape = tuple(size_of(axis, SIZES) for axis in step.dims_of(step.states[0]))
            initial = [np.zeros((self.batch, *shape)), *initial]
        own = wide.pop(0) if step.takes_features else np.zeros((self.batch, self.time, FEATURES))
        return Reference(
            step, own, {k: v.astype("float64") for k, v in self.params.items()}, initial,
            mask=self.mask, reverse=self.reverse, named=dict(zip(step.inputs, wide, strict=True)),
        )  # fmt: skip
