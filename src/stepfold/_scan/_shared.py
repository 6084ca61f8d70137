"""Padding for nothing: rows that begin with the same run of one token share that run.

From the same (zero) state the same tokens give the same states, so the run is computed once, by the row with
the longest, and every other row joins from the state at its own depth. Exact: the same arithmetic on the same
numbers. On the way back what a row would pass on beyond its depth goes to the row that it joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ._lists import share
from ._schedule import Schedule

Array = NDArray[Any]
_WORTH = 0.05  # the part of the work that must be shared for it to pay


def shared_start(schedule: Schedule, tokens: Array, words: int) -> Schedule | None:
    """Return the schedule of rows that share their start, None if too few begin with the same token; no token
    but 0…words - 1."""
    if not schedule.whole or schedule.ragged or not tokens.size or schedule.joins is not None:
        return None
    in_order = tokens.T if schedule.time_major else tokens
    in_order = in_order[:, ::-1] if schedule.reverse else in_order  # (batch, time)
    joins, rows, counts, saved = share(in_order, words)
    if saved <= _WORTH * tokens.size:
        return None
    return replace(schedule, rows=rows, counts=counts, joins=joins)
