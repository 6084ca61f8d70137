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


@dataclass(frozen=True, eq=False)
class Group:
    """Some rows of a batch and their work as one list, timestep after timestep.

    `rows`: their numbers in the batch, longest first; `counts`: how many timesteps each works; `offsets`
    (steps + 1,): where each timestep's work begins in the list; `slots` (steps + 1,): where the states before
    each timestep lie; `positions`: each piece of work's place in the batch; `previous`: where the states
    before it lie; `joined`: whether rows join row 0 later; `before`: how many slots and pieces of work the
    groups before this one have; `all_positions`: the schedule's."""

    rows: Whole
    counts: Whole
    offsets: Whole
    slots: Whole
    positions: Whole
    previous: Whole
    joined: bool
    before: tuple[int, int]
    all_positions: Whole

    @property
    def steps(self) -> int:
        """How many timesteps the longest row works."""
        return len(self.offsets) - 1

    @property
    def work(self) -> int:
        """How many pieces of work (a row at a timestep) there are."""
        return len(self.positions)

    @functools.cached_property
    def waiting(self) -> Whole:
        """All places of each row, (rows, steps): those before it joins are given row 0's outputs."""
        return np.ascontiguousarray(self.all_positions[self.rows])

    @property
    def size(self) -> int:
        """How many slots of states there are."""
        steps = self.steps
        return int(self.slots[-1] + self.offsets[-1] - self.offsets[-2]) if steps else len(self.rows)

    def last(self, *, ring: bool) -> Whole:
        """Where each row's last states lie, of all slots or in a ring of two."""
        number = np.arange(len(self.rows))
        ended = self.counts
        if self.joined:
            number = np.where(self.counts > 0, number, 0)
            ended = np.full(len(self.rows), self.steps)
        found: Whole = (ended % 2 * len(self.rows) if ring else self.slots[ended]) + number
        return found

    @functools.cached_property
    def words(self) -> dict[str, Any]:
        """What every kernel is told of a group."""
        return {
            "steps": self.steps,
            "rows": len(self.rows),
            "offsets": Address(self.offsets),
            "slots": Address(self.slots),
            "waiting": 0,
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
            before = (before[0] + group.size, before[1] + group.work)
            found.append(group)
        made[threads] = found
    return made[threads]


def _group(schedule: Schedule, part: slice, before: tuple[int, int]) -> Group:
    rows, joined = np.ascontiguousarray(schedule.rows[part]), schedule.joins is not None
    if schedule.joins is None:
        counts = np.ascontiguousarray(schedule.counts[part])
        steps = int(counts[0])
    else:
        steps = schedule.time
        # last comes the row whose start the others share: it goes first, and works from the first timestep on
        rows = np.concatenate([rows[-1:], rows[:-1]])
        counts = steps - schedule.joins[rows]
        counts[0] = steps
    lists = lay(steps, joined, rows, counts, schedule.positions, schedule.starts)
    offsets, slots, places, previous = lists
    return Group(rows, counts, offsets, slots, places, previous, joined, before, schedule.positions)


_recent = Recent()


def tokens_of(parts: list[Group], tokens: Array, words: int) -> list[tuple[Whole, Whole]]:
    """For each group the distinct tokens where it works, and which of them each piece of its work has."""
    return _recent.get(parts, tokens, lambda: [distinct(tokens, group.positions, words) for group in parts])
