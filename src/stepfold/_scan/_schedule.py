"""Which row works at which timestep: lengths, masks and directions as lists of positions."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._lists import compress


@dataclass(frozen=True, eq=False)
class Schedule:
    """The work of a batch: what each row does in its own order, the rows with most to do first.

    `rows` (batch,): row numbers, longest first; `counts` (batch,): how many timesteps each of them works,
    falling; `positions` (batch, …) by row number: from `starts` (batch,) on, the places of the row's working
    timesteps, in order, among the batch's (row, timestep) places as they lie in memory; `shape`: the first
    two axes of inputs and outputs as they lie in memory; `whole`: whether every place is worked; `ragged`:
    whether the batch is packed, later timesteps having fewer places; `joins` (batch,) by row number: rows
    begin at these timesteps, from the states of the row that begins last (None: all begin at once, from their
    own). Rows never wait for one another, so a schedule may be split by rows."""

    shape: tuple[int, int]
    time_major: bool
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    positions: NDArray[np.int64]
    starts: NDArray[np.int64]
    reverse: bool
    mask: NDArray[np.bool_] | None = None
    ragged: bool = False
    joins: NDArray[np.int64] | None = None

    @property
    def batch(self) -> int:
        """How many rows."""
        return len(self.rows)

    @property
    def time(self) -> int:
        """How many timesteps the longest row could have."""
        if self.ragged:
            return int(self.positions.shape[1])
        return self.shape[0] if self.time_major else self.shape[1]

    @property
    def whole(self) -> bool:
        """Whether every place of inputs and outputs is worked."""
        return self.mask is None

    @classmethod
    def of(
        cls,
        batch: int,
        time: int,
        *,
        lengths: Any = None,
        mask: Any = None,
        reverse: bool = False,
        time_major: bool = False,
    ) -> Schedule:
        """Return the schedule of a batch.

        `lengths` (batch,) whole numbers in 0…time: the first so many timesteps work; `mask` (batch, time) of
        bools: those that are true work; `reverse`: from the last timestep to the first (masks and lengths
        mean the same places).
        """
        if lengths is not None and mask is not None:
            raise ValueError("give lengths or mask, not both")
        if lengths is not None:
            return _cut(_whole(batch, time, reverse, time_major), checked_lengths(lengths, batch, time))
        if mask is None:
            return _whole(batch, time, reverse, time_major)
        mask = np.asarray(mask)
        if mask.shape != (batch, time):
            raise ValueError(f"mask has shape {mask.shape}, expected (batch, time) = {(batch, time)}")
        if mask.dtype != np.bool_:
            raise TypeError(f"mask must be of bools, not {mask.dtype.name}; write mask != 0")
        return _masked(np.ascontiguousarray(mask), reverse, time_major)

    @classmethod
    def packed(cls, batch_sizes: Any, *, reverse: bool = False) -> Schedule:
        """Return the schedule of a packed batch: one timestep after the other, with the rows that still work.

        `batch_sizes` (time,) whole numbers, falling: how many rows work at each timestep; row 0 is the
        longest. Inputs and outputs lie in memory as (1, places, …), places being the sum of `batch_sizes`.
        """
        sizes = checked_batch_sizes(batch_sizes)
        batch, places = int(sizes[0]), int(sizes.sum())
        offsets = np.cumsum(sizes) - sizes
        rows = np.arange(batch)
        counts = (sizes[None, :] > rows[:, None]).sum(axis=1)
        steps = np.arange(len(sizes))
        # a row's own k-th timestep; what lies behind a row's count is never read, but must be a place
        order = np.maximum(counts[:, None] - 1 - steps[None, :], 0) if reverse else steps[None, :]
        positions = np.minimum(offsets[order] + rows[:, None], places - 1)
        starts = np.zeros_like(rows)
        positions = np.ascontiguousarray(positions)
        return cls((1, places), False, rows, counts, positions, starts, reverse, ragged=True)


def checked_batch_sizes(batch_sizes: Any) -> NDArray[np.int64]:
    """Return the batch sizes of a packed batch as integers; TypeError or ValueError if they are none."""
    found = np.asarray(batch_sizes)
    if found.ndim != 1:
        raise ValueError(f"batch_sizes has shape {found.shape}, expected one number a timestep, (time,)")
    if found.size == 0:
        raise ValueError("the packed batch is empty: batch_sizes has no timestep; pack at least one sequence")
    if not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"batch_sizes must be whole numbers, not {found.dtype.name}")
    if found.min() < 1 or (np.diff(found) > 0).any():
        raise ValueError(
            f"batch_sizes must be positive and never rise, not {found.tolist()}; sort rows by falling length"
        )
    return found.astype(np.int64)


def checked_lengths(lengths: Any, batch: int, time: int) -> NDArray[np.int64]:
    """Return lengths as integers; TypeError or ValueError if they are no lengths of this batch."""
    found = np.asarray(lengths)
    if found.shape != (batch,):
        raise ValueError(f"lengths has shape {found.shape}, expected one number a row, ({batch},)")
    if batch and not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"lengths must be whole numbers, not {found.dtype.name}")
    if batch and (found.min() < 0 or found.max() > time):
        raise ValueError(
            f"lengths run from {found.min()} to {found.max()}; "
            f"they must lie in 0…{time}, the timesteps of the input"
        )
    return found.astype(np.int64)


@functools.lru_cache(maxsize=64)
def _whole(batch: int, time: int, reverse: bool, time_major: bool) -> Schedule:
    steps = np.arange(time)[::-1] if reverse else np.arange(time)
    rows = np.arange(batch)
    positions = (
        steps[None, :] * batch + rows[:, None] if time_major else rows[:, None] * time + steps[None, :]
    )
    shape = (time, batch) if time_major else (batch, time)
    counts, positions = np.full(batch, time), np.ascontiguousarray(positions)
    return Schedule(shape, time_major, rows, counts, positions, np.zeros_like(rows), reverse)


def _cut(whole: Schedule, lengths: NDArray[np.int64]) -> Schedule:
    """A schedule of whole rows with only each row's first timesteps working."""
    time = whole.time
    if (lengths == time).all():
        return whole
    rows = np.argsort(-lengths, kind="stable")
    starts = time - lengths if whole.reverse else whole.starts
    mask = np.arange(time) < lengths[:, None]
    return replace(whole, rows=rows, counts=lengths[rows], starts=starts, mask=mask)


def _masked(mask: NDArray[np.bool_], reverse: bool, time_major: bool) -> Schedule:
    batch, time = mask.shape
    counts, positions = compress(mask, reverse, time_major)
    rows = np.argsort(-counts, kind="stable")
    shape = (time, batch) if time_major else (batch, time)
    return Schedule(shape, time_major, rows, counts[rows], positions, np.zeros_like(rows), reverse, mask)
