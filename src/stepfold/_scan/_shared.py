"""Padding for nothing: rows that begin with the same run of one token share that run.

From the same (zero) state the same tokens give the same states, so the run is computed once, by the row with
the longest, and every other row joins from the state at its own depth. Exact: the same arithmetic on the same
numbers. On the way back what a row would pass on beyond its depth goes to the row that it joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._lists import Recent, depths
from ._schedule import Schedule

Array = NDArray[Any]
_WORTH = 0.05  # the part of the work that must be shared for it to pay

_recent = Recent()


def shared_start(schedule: Schedule, tokens: Array) -> Schedule | None:
    """Return the schedule of rows that share their start, None if too few begin with the same token."""
    if not schedule.whole or schedule.ragged or not tokens.size or schedule.joins is not None:
        return None
    return _recent.get(schedule, tokens, lambda: _joined(schedule, tokens))


def _joined(schedule: Schedule, tokens: Array) -> Schedule | None:
    in_order = tokens.T if schedule.time_major else tokens
    in_order = in_order[:, ::-1] if schedule.reverse else in_order  # (batch, time)
    runs, first = depths(in_order), in_order[:, 0]
    longest: dict[int, int] = {}
    total: dict[int, int] = {}
    for token, run in zip(first.tolist(), runs.tolist(), strict=True):
        longest[token] = max(longest.get(token, 0), run)
        total[token] = total.get(token, 0) + run
    best = max(total, key=lambda token: total[token] - longest[token])  # the work that sharing saves
    joins = np.where(first == best, runs, 0)
    if joins.sum() - joins.max() <= _WORTH * tokens.size:
        return None
    rows = np.argsort(joins, kind="stable")
    return replace(schedule, rows=rows, counts=schedule.time - joins[rows], joins=joins)
