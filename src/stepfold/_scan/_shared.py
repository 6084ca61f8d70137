"""Padding for nothing: rows that begin with the same run of one token share that run.

From the same (zero) state the same tokens give the same states, so the run is computed once, as one row, as
long as the longest needs, and every row starts from the state at its own depth. Exact: the same arithmetic on
the same numbers. On the way back the rows' gradients at their depths are summed into the one row's."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._lists import Recent
from ._schedule import Schedule

Array = NDArray[Any]
_WORTH = 4  # a single row takes as long as about so many in a batch


@dataclass(frozen=True, eq=False)
class Split:
    """A schedule in two: `start`, the run of `token` as one row; `rest`, every row from its depth on.

    `depths` (batch,) by row number.
    """

    token: int
    start: Schedule
    rest: Schedule
    depths: NDArray[np.int64]

    @functools.cached_property
    def shared(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The part of the batch that the run stands for: its places, whose rows and which of the run's steps
        they are."""
        rows, steps = np.nonzero(np.arange(self.start.time) < self.depths[:, None])
        return self.rest.positions[rows, steps], rows, steps


_recent = Recent()


def shared_start(schedule: Schedule, tokens: Array) -> Split | None:
    """Return the split of a schedule whose rows begin with the same token, None if that would not pay."""
    if not schedule.whole or schedule.ragged or not tokens.size or schedule.batch <= _WORTH:
        return None
    return _recent.get(schedule, tokens, lambda: _split(schedule, tokens))


def _split(schedule: Schedule, tokens: Array) -> Split | None:
    in_order = tokens.T if schedule.time_major else tokens
    in_order = in_order[:, ::-1] if schedule.reverse else in_order  # (batch, time)
    token = Counter(in_order[:, 0].tolist()).most_common(1)[0][0]
    differs = in_order != token
    depths = np.where(differs.any(axis=1), differs.argmax(axis=1), schedule.time)
    most = int(depths.max())
    if depths.sum() <= _WORTH * most:
        return None
    one = np.zeros(1, np.int64)
    start = Schedule((1, most), False, one, np.full(1, most), np.arange(most)[None], one, False)
    rows = np.argsort(depths, kind="stable")
    rest = replace(schedule, rows=rows, counts=schedule.time - depths[rows], starts=depths)
    return Split(token, start, rest, depths)


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
        places, rows, steps = split.shared
        spread[rows, steps] = output_gradient.reshape(-1, units)[places]
        total[:, 0, :units] += spread.sum(axis=0)
    return total
