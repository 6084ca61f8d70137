# ruff: noqa: F722, F821, UP037
"""Cells with integers that choose rows of parameters, and the same cells with the rows as inputs: what every
adapter is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepfold import Cell, Scalar, cell, sigmoid, tanh
from stepfold._reference import Reference

Array = np.ndarray[Any, Any]
SIZES = {"vocabulary": 7, "embed": 3, "days": 4}
UNITS, FEATURES = 5, 3


@cell
def by_word(
    word: int, h, c, *, E: "vocabulary units", F: "vocabulary embed", V: "units embed", g: "vocabulary", U
):
    """Three tables of one integer: a vector, one behind a kernel, a number."""
    z = sigmoid(g[word])
    c = z * c + (1 - z) * tanh(E[word] + U @ h)
    return tanh(V @ F[word] + c), c


@cell
def by_rows(e: "units", f: "embed", g: Scalar, /, h, c, *, V: "units embed", U):
    """`by_word` of the rows."""
    z = sigmoid(g)
    c = z * c + (1 - z) * tanh(e + U @ h)
    return tanh(V @ f + c), c


@cell
def by_embedding(word: int, h, *, E: "vocabulary embed", W: "units embed", U, b):
    """Rows that only stand behind a kernel, which is how a network begins that reads words."""
    return tanh(W @ E[word] + U @ h + b)


@cell
def by_vectors(x, h, *, W, U, b):
    """`by_embedding` of the rows."""
    return tanh(W @ x + U @ h + b)


@cell
def by_day(x, day: int, gap: Scalar, week: int, /, h, *, W, U, D: "days units", w):
    """Two integers of one table, beside other inputs."""
    return tanh(W @ x + D[day] - 0.5 * D[week] + U @ h + gap * w)


@cell
def by_day_rows(x, d: "units", gap: Scalar, k: "units", /, h, *, W, U, w):
    """`by_day` of the rows."""
    return tanh(W @ x + d - 0.5 * k + U @ h + gap * w)


@dataclass
class LookupProblem:
    """A batch for one of the cells, (batch, time, …): `inputs` of the cell, `rows` of its twin."""

    cell: Cell
    dtype: str = "float64"
    batch: int = 3
    time: int = 6
    seed: int = 0
    sizes: dict[str, int] = field(init=False)
    params: dict[str, Array] = field(init=False)
    inputs: list[Array] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.sizes = {axis: SIZES[axis] for axis in self.cell.step.own_axes if axis in SIZES}
        shapes = self.cell.parameter_shapes(features=FEATURES, units=UNITS, **self.sizes)

        def some(*shape: int) -> Array:
            return np.asarray(random.standard_normal(shape) * 0.6, self.dtype)

        self.params = {name: some(*shape) for name, shape in shapes.items()}
        steps = self.batch, self.time
        if self.cell is not by_day:
            self.inputs = [random.integers(SIZES["vocabulary"], size=steps)]
        else:
            day, week = random.integers(SIZES["days"], size=(2, *steps))
            self.inputs = [some(*steps, FEATURES), day, some(*steps, 1), week]

    @property
    def given(self) -> Any:
        """The inputs as `scan` takes them."""
        return self.inputs[0] if len(self.inputs) == 1 else tuple(self.inputs)

    @property
    def twin(self) -> Cell:
        """The cell of the rows."""
        return {by_word: by_rows, by_embedding: by_vectors, by_day: by_day_rows}[self.cell]

    @property
    def rows(self) -> Any:
        """The inputs of the twin, as `scan` takes them."""
        p = self.params
        if self.cell is by_embedding:
            return p["E"][self.inputs[0]]
        if self.cell is by_word:
            (word,) = self.inputs
            return p["E"][word], p["F"][word], p["g"][word][..., None]
        x, day, gap, week = self.inputs
        return x, p["D"][day], gap, p["D"][week]

    @property
    def rest(self) -> dict[str, Array]:
        """The parameters of the twin."""
        return {name: self.params[name] for name in self.twin.step.parameters}

    def added(self, gradients: Any) -> dict[str, Array]:
        """The gradients of the tables from those of the twin's inputs."""
        found = {name: np.zeros_like(self.params[name]) for name in self.cell.step.tables}
        if self.cell is by_word:
            e, f, g = map(np.asarray, gradients)
            for name, gradient in (("E", e), ("F", f), ("g", g[..., 0])):
                np.add.at(found[name], self.inputs[0], gradient)
        elif self.cell is by_embedding:
            np.add.at(found["E"], self.inputs[0], np.asarray(gradients))
        else:
            np.add.at(found["D"], self.inputs[1], np.asarray(gradients[1]))
            np.add.at(found["D"], self.inputs[3], np.asarray(gradients[3]))
        return found

    def reference(self, **options: Any) -> Reference:
        """The reference from zero states."""
        named = dict(zip(self.cell.step.input_names, self.inputs, strict=True))
        x = named.pop("x", np.zeros((self.batch, self.time, 1)))
        states = [np.zeros((self.batch, UNITS), self.dtype) for _ in self.cell.states]
        return Reference(self.cell.step, x, self.params, states, named=named, **options)


CELLS = (by_word, by_embedding, by_day)
