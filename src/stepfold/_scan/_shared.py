"""Padding for nothing: rows that begin with the same run of one token share that run.

From the same (zero) state the same tokens give the same states, so the run is computed once, as one row, as
long as the longest needs, and every row starts from the state at its own depth. Exact: the same arithmetic on
the same numbers. On the way back the rows' gradients at their depths are summed into the one row's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._schedule import Schedule

Array = NDArray[Any]
_WORTH = 4  # a single row takes as long as about so many in a batch


@dataclass(frozen=True, eq=False)
class Split:
    """A schedule in two: `start`, the run of `token` as one row; `rest`, every row from its depth on.

    `depths` (batch,) by row; `places` (…,): where outputs of the run stand in the batch, `rows` and `steps`
    whose they are and which step of the run gives them."""

    token: int
    start: Schedule
    rest: Schedule
    depths: NDArray[np.int64]
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]


def shared_start(schedule: Schedule, tokens: Array) -> Split | None:
    """Return the split of a schedule whose rows begin with the same token, None if that would not pay."""
    if not schedule.whole or schedule.ragged or not tokens.size or schedule.batch <= _WORTH:
        return None
    sequences = tokens.reshape(-1)[schedule.positions]  # (rows, time) in the order of work
    firsts, number = np.unique(sequences[:, 0], return_counts=True)
    token = firsts[number.argmax()]
    differs = sequences != token
    depths = np.where(differs.any(axis=1), differs.argmax(axis=1), schedule.time)
    most = int(depths.max())
    if depths.sum() <= _WORTH * most:
        return None
    start = Schedule((1, most), False, np.zeros(1, np.int64), np.full(1, most), np.arange(most)[None], False)
    order = np.argsort(depths, kind="stable")
    counts = schedule.time - depths[order]
    steps = np.minimum(depths[order, None] + np.arange(int(counts[0])), schedule.time - 1)
    rest = replace(
        schedule,
        rows=schedule.rows[order],
        counts=counts,
        positions=np.take_along_axis(schedule.positions[order], steps, axis=1),
    )
    rows, before = np.nonzero(np.arange(most) < depths[:, None])
    by_row = np.empty(schedule.batch, np.int64)
    by_row[schedule.rows] = depths
    return Split(
        int(token), start, rest, by_row, schedule.positions[rows, before], schedule.rows[rows], before
    )


def gradient_by_step(split: Split, starts: list[Array], output_gradient: Array | None, padded: int) -> Array:
    """Sum the rows' gradients into those of the run's states: (steps, states, padded).

    `starts`: the gradients (batch, units) of the states that the rows started from.
    """
    most, units = split.start.time, starts[0].shape[-1]
    total = np.zeros((most, len(starts), padded), starts[0].dtype)
    deep = split.depths > 0
    for s, gradient in enumerate(starts):
        np.add.at(total[:, s, :units], split.depths[deep] - 1, gradient[deep])
    if output_gradient is not None:
        spread = np.zeros((len(split.depths), most, units), total.dtype)
        spread[split.rows, split.steps] = output_gradient.reshape(-1, units)[split.places]
        total[:, 0, :units] += spread.sum(axis=0)
    return total
