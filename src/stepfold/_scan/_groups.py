"""A batch cut into groups of rows, each a chain of kernel calls: threads take groups, nothing waits in
between."""

from __future__ import annotations

import functools
import itertools
import secrets
import weakref
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._calls import Call, chain, small
from ._lists import Index
from ._memory import address
from ._schedule import Schedule
from ._shared import shared_start

Array = NDArray[Any]
Whole = NDArray[np.int64]
MOST_ROWS = 64
_EXACT = 1 << 24  # below it single precision holds every whole number
_HELD, _LISTED = 16, 250_000  # batches, and pieces of work of the largest


class Tokens(NamedTuple):
    """Word numbers, laid out as a schedule's places, all below the number of words."""

    ids: Array
    words: int


class Lists:
    """A group's work, timestep after timestep, as lists in one memory, which `calls` write.

    `offsets` and `slots` (steps + 1,): where each timestep's work begins, and where the states before it lie;
    `positions` and `previous` (work,): each piece's place in the batch, and where the states before it lie;
    with tokens `source` (work,): which of the `distinct` ones each piece has, and in `found` how many these
    are."""

    def __init__(self, group: Group, positions: Whole, starts: Whole, tokens: Tokens | None) -> None:
        steps, work = group.steps, group.work
        sizes = {"offsets": steps + 1, "slots": steps + 1, "positions": work, "previous": work}
        if tokens is not None:
            sizes |= {"source": work, "found": 1, "distinct": min(work, tokens.words)}
        self._memory = np.empty(sum(sizes.values()), np.int64)
        self._begins: dict[str, int] = {}
        self.most_distinct = sizes.get("distinct", 0)
        self.at: dict[str, int] = {}  # addresses
        first, begin = address(self._memory), 0
        for word, size in sizes.items():
            self._begins[word], self.at[word] = begin, first + 8 * begin
            begin += size
        lay = {
            "steps": steps,
            "rows": len(group.rows),
            "joined": int(group.joined),
            "counts": group.counts,
            "stride": positions.shape[1],
            "positions": positions,
            "lines": group.rows,
            "starts": starts,
            "offsets": self.at["offsets"],
            "slots": self.at["slots"],
            "places": self.at["positions"],
            "previous": self.at["previous"],
        }
        self.calls = [Call(small("lay"), lay)]
        self._index = None
        if tokens is not None:
            self._index = Index(tokens.words)
            distinct = {
                "count": work,
                "places": self.at["positions"],
                "tokens": tokens.ids,
                "index": self._index.array,
                "distinct": self.at["distinct"],
                "source": self.at["source"],
                "found": self.at["found"],
            }
            self.calls.append(Call(small(f"distinct{8 * tokens.ids.itemsize}"), distinct))

    def array(self, word: str, size: int) -> Whole:
        """The first numbers of a list; the calls must have been made."""
        begin = self._begins[word]
        return self._memory[begin : begin + size]

    def finish(self) -> None:
        """The calls have been made."""
        self.calls = []
        if self._index is not None:
            self._index.give_back()
            self._index = None

    @functools.cached_property
    def distinct(self) -> Whole:
        """The distinct tokens."""
        return self.array("distinct", int(self.array("found", 1)[0]))


class Group:
    """Some rows of a batch and their work.

    `rows`: their numbers in the batch, the one that works longest first; `counts`: how many timesteps each
    works; `steps`: how many the longest does; `work`: how many pieces of work (a row at a timestep) there
    are; `joined`: whether rows join row 0 later; `before`: how many slots of states and pieces of work the
    groups before this one have."""

    def __init__(
        self, schedule: Schedule, part: Whole, before: tuple[int, int], tokens: Tokens | None
    ) -> None:
        rows, counts = schedule.rows[part], schedule.counts[part]
        self.joined, self.before = schedule.joins is not None, before
        if self.joined:
            # last comes the row whose start the others share: it goes first, and works from the first
            # timestep on
            rows = np.concatenate((rows[-1:], rows[:-1]))
            counts = np.concatenate(([schedule.time], counts[:-1]))
        self.rows, self.counts = rows, counts
        self.steps, self.work = int(self.counts[0]), int(self.counts.sum())
        self._given = schedule.positions, schedule.starts, tokens
        self._lists: Lists | None = None

    @property
    def size(self) -> int:
        """How many slots of states there are, at most: one for every row, for every piece of work, and for
        every row that joins."""
        return self.work + (2 if self.joined else 1) * len(self.rows)

    def planned(self) -> Lists:
        """Its lists, whose calls, if there are any, must still be made: then say so to `made`.

        Two that ask at once may both get lists of their own."""
        return self._lists or Lists(self, *self._given)

    def made(self, lists: Lists) -> None:
        """These lists are written, and the tokens, which may be somebody else's memory, needed no more."""
        lists.finish()
        self._lists = lists
        self._given = (*self._given[:2], None)

    @property
    def lists(self) -> Lists:
        """Its lists, written."""
        lists = self.planned()
        if lists.calls:
            chain(lists.calls)()
            self.made(lists)
        return lists

    @property
    def positions(self) -> Whole:
        """Each piece of work's place in the batch, (work,)."""
        return self.lists.array("positions", self.work)

    @functools.cached_property
    def waiting(self) -> Whole:
        """All places of each row, (rows, steps): those before it joins are given row 0's outputs."""
        return np.ascontiguousarray(self._given[0][self.rows])

    def words(self, lists: Lists, *, waits: bool) -> dict[str, Any]:
        """What every kernel is told of a group; `waits`: whether rows have outputs before they join."""
        return {
            "steps": self.steps,
            "rows": len(self.rows),
            "waiting": self.waiting if waits and self.joined else 0,
            "offsets": lists.at["offsets"],
            "slots": lists.at["slots"],
            "source": lists.at["positions"],
            "target": lists.at["positions"],
            "previous": lists.at["previous"],
            "lists": lists,  # to hold the memory
        }


_known: weakref.WeakKeyDictionary[Schedule, dict[int, list[Group]]] = weakref.WeakKeyDictionary()


class Batch:
    """A schedule, perhaps of tokens, cut into groups: once for each number of threads."""

    def __init__(self, schedule: Schedule, tokens: Tokens | None = None) -> None:
        self.schedule, self.tokens = schedule, tokens
        self._cut: dict[int, list[Group]] = {} if tokens else _known.setdefault(schedule, {})

    def groups(self, threads: int) -> list[Group]:
        """Rows of all lengths in each group, at most `MOST_ROWS`; every thread gets as many groups."""
        found = self._cut.get(threads)
        if found is None:
            rows = self.schedule.batch
            count = min(rows, threads * max(1, -(-rows // (threads * MOST_ROWS))))
            found, before = [], (0, 0)
            for part in _dealt(rows, count):
                group = Group(self.schedule, part, before, self.tokens)
                before = before[0] + group.size, before[1] + group.work
                found.append(group)
            self._cut[threads] = found
        return found


@functools.lru_cache(maxsize=64)
def _dealt(rows: int, groups: int) -> list[Whole]:
    """Rows dealt to groups, there and back again: they become shorter, and every group shall have as much
    to do."""
    turns = -(-rows // max(1, groups))
    order = np.arange(turns * groups).reshape(turns, groups)
    order[1::2] = order[1::2, ::-1]
    return [part[part < rows] for part in order.T]


def batch_of(schedule: Schedule, tokens: Array | None, words: int, *, share: bool) -> Batch:
    """Return the batch of a schedule.

    With `share` rows may share their start, if that saves enough: then the batch's schedule is another.
    """
    if tokens is None:
        return Batch(schedule)
    shared = shared_start(schedule, tokens, words) if share else None
    return Batch(shared or schedule, Tokens(np.ascontiguousarray(tokens), words))


class Ticket(NamedTuple):
    """Whole numbers that single precision holds exactly: which process, and which of its batches."""

    process: int
    again: int
    number: int


class Tickets:
    """The last batches of tokens that were cut and listed: a run leaves a ticket for its way back.

    Where the ticket is of another process, or too old, or the batch so large that its lists are better made
    again than held, the batch is made anew."""

    def __init__(self) -> None:
        self._mine = secrets.randbelow(_EXACT), secrets.randbelow(_EXACT)
        self._counter = itertools.count()
        self._held: list[tuple[Ticket, Batch] | None] = [None] * _HELD

    def leave(self, batch: Batch) -> Ticket:
        """Return a ticket for a batch."""
        ticket = Ticket(*self._mine, next(self._counter) % _EXACT)
        if batch.schedule.counts.sum() <= _LISTED:
            self._held[ticket.number % _HELD] = ticket, batch
        return ticket

    def batch(self, ticket: Ticket) -> Batch | None:
        """Return the batch of a ticket, None if it is not held."""
        whose, batch = self._held[ticket.number % _HELD] or (None, None)
        return batch if whose == ticket else None


tickets = Tickets()
