"""A schedule cut into groups of rows, each a kernel call: threads take groups, nothing waits in between."""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._lists import Recent, distinct, lay
from ._memory import Address
from ._schedule import Schedule

Array = NDArray[Any]
Whole = NDArray[np.int64]
MOST_ROWS = 64
CHUNK_ROWS = 256


@dataclass(frozen=True, eq=False)
class Group:
    """Some rows of a batch, longest first, and their work as one list, timestep after timestep.

    `rows`: their numbers in the batch; `offsets` (steps + 1,): where each timestep's work begins in the list;
    `positions`: each piece of work's place in the batch; `previous`: where the states before it lie (initial
    states first, then one entry a piece of work); `last`: where each row's last states lie; `before`: how
    many rows and how many pieces of work the groups before this one have."""

    rows: Whole
    counts: Whole
    offsets: Whole
    positions: Whole
    previous: Whole
    last: Whole
    before: tuple[int, int]

    @property
    def steps(self) -> int:
        """How many timesteps the longest row works."""
        return len(self.offsets) - 1

    @property
    def work(self) -> int:
        """How many pieces of work (a row at a timestep) there are."""
        return len(self.positions)

    @property
    def chunk(self) -> int:
        """How many timesteps to take at a time, so that what lies between them stays in the cache."""
        return max(1, CHUNK_ROWS // max(1, len(self.rows)))

    @functools.cached_property
    def words(self) -> dict[str, Any]:
        """What every kernel is told of a group."""
        return {
            "steps": self.steps,
            "rows": len(self.rows),
            "chunk": self.chunk,
            "offsets": Address(self.offsets),
            "source": Address(self.positions),
            "target": Address(self.positions),
            "previous": Address(self.previous),
        }


_known: weakref.WeakKeyDictionary[Schedule, dict[int, list[Group]]] = weakref.WeakKeyDictionary()


def groups(schedule: Schedule, threads: int) -> list[Group]:
    """Cut a schedule for a number of threads: rows of all lengths in each group, at most `MOST_ROWS`."""
    made = _known.setdefault(schedule, {})
    if threads not in made:
        batch = schedule.batch
        each = threads * max(1, -(-batch // (threads * MOST_ROWS)))
        count = min(batch, each)
        found: list[Group] = []
        before = (0, 0)
        for first in range(count):
            group = _group(schedule, slice(first, None, count), before)
            before = (before[0] + len(group.rows), before[1] + group.work)
            found.append(group)
        made[threads] = found
    return made[threads]


def _group(schedule: Schedule, part: slice, before: tuple[int, int]) -> Group:
    rows, counts = np.ascontiguousarray(schedule.rows[part]), np.ascontiguousarray(schedule.counts[part])
    steps = int(counts[0]) if len(counts) else 0
    ended = np.cumsum(np.bincount(counts, minlength=steps + 1))  # by each timestep
    offsets = np.zeros(steps + 1, np.int64)
    np.cumsum(len(rows) - ended[:steps], out=offsets[1:])
    places, previous = lay(offsets, schedule.positions, rows, schedule.starts)
    number = np.arange(len(rows))
    last = np.where(counts > 0, len(rows) + offsets[np.maximum(counts - 1, 0)] + number, number)
    return Group(rows, counts, offsets, places, previous, last, before)


_recent = Recent()


def tokens_of(parts: list[Group], tokens: Array, words: int) -> tuple[Whole, list[Whole]]:
    """Return the distinct tokens where there is work, and for each group which of them each piece of work
    has."""
    return _recent.get(parts, tokens, lambda: distinct(tokens, [group.positions for group in parts], words))
