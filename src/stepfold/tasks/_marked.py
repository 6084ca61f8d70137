"""Temporal order and adding: two timesteps of a long sequence matter, and the answer is due at its end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._task import Examples, Task

_SYMBOLS = 6  # X and Y, then the distractors a, b, c, d


def _length(lag: int) -> int:
    return lag + lag // 10 + 1


def _marks(lag: int, batch: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the marks stand: one in the first lag // 10 + 1 timesteps, one in the last half."""
    first = random.integers(0, lag // 10 + 1, batch)
    second = random.integers(_length(lag) // 2, _length(lag), batch)
    return first, second


def _temporal_order(lag: int, batch: int, random: np.random.Generator) -> Examples:
    ids = random.integers(2, _SYMBOLS, (batch, _length(lag)))
    classes = random.integers(0, 4, batch)
    first, second = _marks(lag, batch, random)
    rows = np.arange(batch)
    ids[rows, first], ids[rows, second] = classes // 2, classes % 2
    return np.eye(_SYMBOLS, dtype=np.float32)[ids], classes[:, None].astype(np.int32)


def _adding(lag: int, batch: int, random: np.random.Generator) -> Examples:
    inputs = np.zeros((batch, _length(lag), 2), np.float32)
    inputs[:, :, 0] = random.random(inputs.shape[:2], np.float32)
    first, second = _marks(lag, batch, random)
    rows = np.arange(batch)
    inputs[rows, first, 1] = inputs[rows, second, 1] = 1.0
    return inputs, (inputs[rows, first, 0] + inputs[rows, second, 0])[:, None]


temporal_order = Task(
    name="temporal_order",
    features=_SYMBOLS,
    answers=1,
    classes=4,
    solved_at=0.99,
    guess=0.25,
    shortest=1,
    about="Temporal order (Hochreiter & Schmidhuber 1997, task 6a). Inputs: the symbols X, Y, a, b, c, d, "
    "one-hot. All are distractors (a to d) except two, each X or Y: one among the first lag // 10 + 1 "
    "timesteps, one in the last half of lag + lag // 10 + 1. Target: XX, XY, YX or YY as 0 to 3.",
    generate=_temporal_order,
)

adding = Task(
    name="adding",
    features=2,
    answers=1,
    classes=0,
    solved_at=0.01,
    guess=1 / 6,
    shortest=1,
    about="Adding (Hochreiter & Schmidhuber 1997, task 4; in the form of Le et al. 2015, arXiv:1504.00941). "
    "Inputs: a number from 0 to 1, and a mark, which is 1 at two timesteps (where temporal_order has its "
    "symbols), else 0. Target: the sum of the two marked numbers.",
    generate=_adding,
)
