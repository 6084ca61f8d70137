"""Which rows there are: numbers that are given once, and the slot of each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
_LEAST = 16


class Rows:
    """Rows that join and leave: each has a number, which no other row ever gets, and a slot below `capacity`.

    The numbers lie in ascending order in an array, and those of rows that have left stay there with the slot
    -1 until they are as many as the others. So a look-up is a binary search, and joining and leaving cost as
    much as the rows that join and leave. Whoever has memory for the slots asks what capacity is needed
    (`capacity_for`, `less`), and says when it is there (`grow`, `shrink`)."""

    def __init__(self, count: int) -> None:
        self.restore(np.arange(count, dtype=np.int64), count)

    def restore(self, numbers: Indices, following: int, capacity: int = 0) -> None:
        """Have rows of these ascending numbers, in the first slots; the next that joins gets the number
        `following`."""
        self.following = following
        self.capacity = max(1, len(numbers), capacity)
        self._set(numbers.copy(), np.arange(len(numbers), dtype=np.int64))
        self._free = list(range(self.capacity - 1, len(numbers) - 1, -1))

    @staticmethod
    def fits(numbers: Indices, following: int) -> bool:
        """Whether these are numbers of rows, ascending and below the next one."""
        whole = np.concatenate(([-1], numbers, [following])) if 0 <= following < 2**62 else np.zeros(2)
        return bool((whole[1:] > whole[:-1]).all())

    def _set(self, numbers: Indices, slots: Indices) -> None:
        self._numbers, self._slots, self._used = numbers, slots, len(numbers)
        self._changed()

    def _changed(self) -> None:
        self._all: Indices | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        return self.capacity - len(self._free)

    @property
    def numbers(self) -> Indices:
        """The numbers of all rows, ascending."""
        return self._numbers[: self._used][self._slots[: self._used] >= 0]

    @property
    def slots(self) -> Indices:
        """The slots of all rows, in the order of their numbers; the same array until rows join or leave."""
        if self._all is None:
            slots = self._slots[: self._used]
            self._all = slots[slots >= 0]
        return self._all

    def slots_of(self, rows: Any) -> Indices:
        """Return the slots of rows that are there, each of which may be given once.

        Raises:
            TypeError, ValueError: `rows` are not integers, not (n,), or have one of them twice.
            IndexError: a row has left, or there never was one of this number.
        """
        return self._slots[self._places(rows)]

    def _places(self, rows: Any) -> Indices:
        wanted = checked_rows(rows)
        numbers = self._numbers[: self._used]
        places = np.searchsorted(numbers, wanted)
        known = places < self._used
        places[~known] = 0
        if self._used:
            known &= numbers[places] == wanted
            known &= self._slots[places] >= 0
        if not known.all():
            self._fail(int(wanted[~known][0]))
        if len(places) > 1 and not (places[1:] > places[:-1]).all():
            order = np.sort(places)
            twice = order[1:] == order[:-1]
            if twice.any():
                raise ValueError(f"row {numbers[order[1:][twice][0]]} is given twice in rows")
        return places

    def _fail(self, row: int) -> None:
        if 0 <= row < self.following:
            raise IndexError(f"row {row} has left the stream")
        raise IndexError(f"there is no row {row}; the next one to join gets the number {self.following}")

    def capacity_for(self, count: int) -> int:
        """The capacity that so many more rows need: what there is, or at least twice as much."""
        needed = len(self) + count
        return self.capacity if needed <= self.capacity else max(needed, 2 * self.capacity)

    def grow(self, capacity: int) -> None:
        """Have slots up to a capacity, of which there must be memory."""
        self._free[:0] = range(capacity - 1, self.capacity - 1, -1)
        self.capacity = capacity

    def join(self, count: int) -> tuple[Indices, Indices]:
        """Add rows, for which there must be slots; return their numbers and slots."""
        numbers = np.arange(self.following, self.following + count)
        slots = np.array([self._free.pop() for _ in range(count)], np.int64)
        end = self._used + count
        if end > len(self._numbers):
            longer = np.zeros((2, max(end, 2 * self._used, _LEAST)), np.int64)
            longer[:, : self._used] = self._numbers[: self._used], self._slots[: self._used]
            self._numbers, self._slots = longer
        self._numbers[self._used : end], self._slots[self._used : end] = numbers, slots
        self._used, self.following = end, self.following + count
        self._changed()
        return numbers, slots

    def leave(self, rows: Any) -> None:
        """Take rows away."""
        places = self._places(rows)
        self._free += self._slots[places].tolist()
        self._slots[places] = -1
        self._changed()
        if 2 * len(self) <= self._used:
            kept = self._slots[: self._used] >= 0
            self._set(self._numbers[: self._used][kept], self._slots[: self._used][kept])

    def less(self) -> int | None:
        """The capacity that would do where a quarter of what there is would, twice the number of rows; else
        None."""
        return None if self.capacity <= max(_LEAST, 4 * len(self)) else max(2 * len(self), 1)

    def shrink(self, capacity: int) -> None:
        """Have the rows in the first slots, in the order of their numbers, of a lower capacity."""
        self.restore(self.numbers, self.following, capacity)


def checked_rows(rows: Any) -> Indices:
    """Return row numbers as int64, (n,); an integer is one row. TypeError or ValueError for anything else."""
    try:
        found = np.asarray(rows)
    except ValueError:
        raise ValueError("rows has no shape, expected integers (n,)") from None
    if not found.size and found.ndim == 1:
        return np.zeros(0, np.int64)
    if isinstance(rows, np.ma.MaskedArray) or found.dtype.kind not in "iu":
        raise TypeError(f"rows must be integers, the numbers of rows, not {found.dtype.name}")
    if found.ndim > 1:
        raise ValueError(f"rows has shape {found.shape}, expected (n,)")
    if found.dtype == np.uint64 and found.max() > np.iinfo(np.int64).max:
        raise IndexError(f"there is no row {found.max()}")
    return np.ascontiguousarray(found, np.int64).reshape(-1)
