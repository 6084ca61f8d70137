"""Lists of places and tokens, made by small kernels of their own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._llvm import SMALL, load, target
from ._calls import Compiled

Array = NDArray[Any]
Whole = NDArray[np.int64]
T = TypeVar("T")
_lock = threading.Lock()
_SAMPLE, _RECENT = 257, 8
_LONG = 100_000  # numbers from which on other threads shall run meanwhile


@functools.cache
def _kernel(name: str) -> Compiled:
    on = target()
    kernel, library, _ = load(f"small {name}", on, lambda: SMALL[name](on))
    return Compiled(kernel, library)


def small(name: str) -> Compiled:
    """A small kernel, compiled once."""
    with _lock:
        return _kernel(name)


def _call(name: str, words: Mapping[str, Any], work: int) -> None:
    if work < _LONG:
        small(name).at_once(words)
    else:
        small(name).job(words)()


def compress(mask: NDArray[np.bool_], reverse: bool, time_major: bool) -> tuple[Whole, Whole]:
    """For each row of a mask (batch, time): how many timesteps work, and their places in order, (batch,
    time).

    What stands in a line of places behind its count means nothing.
    """
    batch, time = mask.shape
    counts, positions = np.empty(batch, np.int64), np.zeros((batch, time), np.int64)
    words = {
        "mask": np.ascontiguousarray(mask),
        "batch": batch,
        "time": time,
        "row_place": 1 if time_major else time,
        "time_place": batch if time_major else 1,
        "reverse": int(reverse),
        "counts": counts,
        "positions": positions,
    }
    _call("compress", words, batch * time)
    return counts, positions


def lay(
    steps: int, joined: bool, lines: Whole, counts: Whole, positions: Whole, starts: Whole
) -> tuple[Whole, Whole, Whole, Whole]:
    """A group's work as one list: where each timestep's begins and where its states lie, (steps + 1,) each;
    the place of each piece of work, and where the states before it lie, (work,) each.

    `lines` are the group's rows, `counts` how many timesteps each of them works, falling.
    """
    offsets, slots = np.empty(steps + 1, np.int64), np.empty(steps + 1, np.int64)
    work = int(counts.sum())
    places, previous = np.empty(work, np.int64), np.empty(work, np.int64)
    words = {
        "steps": steps,
        "rows": len(lines),
        "joined": int(joined),
        "counts": counts,
        "stride": positions.shape[1],
        "positions": positions,
        "lines": lines,
        "starts": starts,
        "offsets": offsets,
        "slots": slots,
        "places": places,
        "previous": previous,
    }
    _call("lay", words, work)
    return offsets, slots, places, previous


def depths(tokens: Array) -> Whole:
    """How many times its first token stands at the front of each row of tokens (batch, time), of any
    strides; there is at least one timestep."""
    found = np.empty(len(tokens), np.int64)
    size = tokens.itemsize
    words = {
        "batch": tokens.shape[0],
        "time": tokens.shape[1],
        "row_place": tokens.strides[0] // size,
        "time_place": tokens.strides[1] // size,
        "tokens": tokens,
        "depths": found,
    }
    _call(f"depths{8 * size}", words, tokens.size)
    return found


def distinct(tokens: Array, places: Whole, words: int) -> tuple[Whole, Whole]:
    """Return the distinct tokens at some places, and for each place which of them stands there."""
    index, found = np.full(words, -1, np.int64), np.zeros(1, np.int64)
    different, source = np.empty(max(1, min(words, len(places))), np.int64), np.empty(len(places), np.int64)
    call = {
        "count": len(places),
        "places": places,
        "tokens": np.ascontiguousarray(tokens),
        "index": index,
        "distinct": different,
        "source": source,
        "found": found,
    }
    _call(f"distinct{8 * tokens.itemsize}", call, len(places))
    return different[: found[0]], source


def add_rows(target: Array, rows: Whole, source: Array) -> None:
    """`target[rows] += source`, rows being distinct; `source` holds at least so many rows."""
    words = {
        "count": len(rows),
        "width": target.shape[1],
        "lines": rows,
        "source": source,
        "target": target,
    }
    _call(f"add{8 * target.itemsize}", words, len(rows) * target.shape[1])


def turn(target: Array, source: Array) -> None:
    """`target[...] = source` for arrays (blocks, rows, columns) of one dtype, where columns lie side by side
    in the target and rows in the source."""
    size = target.itemsize
    words = dict(zip(("blocks", "rows", "columns"), target.shape, strict=True))
    call: dict[str, Any] = {
        **words,
        "source": source,
        "source_block": source.strides[0] // size,
        "source_column": source.strides[2] // size,
        "target": target,
        "target_block": target.strides[0] // size,
        "target_row": target.strides[1] // size,
    }
    _call(f"turn{8 * size}", call, _LONG)


class Recent:
    """What was worked out for the last few batches of tokens: the way back asks what the way forward
    asked."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, bytes], tuple[object, Array, Any]] = {}

    def get(self, owner: object, tokens: Array, make: Callable[[], T]) -> T:
        """Return what `make` returned for the same owner and equal tokens, or make it."""
        # some of the tokens tell most batches apart
        key = id(owner), tokens.reshape(-1)[::_SAMPLE].tobytes()
        whose, same, value = self._entries.get(key, (None, tokens, None))
        if whose is owner and np.array_equal(same, tokens):
            found: T = value
            return found
        made = make()
        with _lock:
            self._entries.pop(key, None)
            self._entries[key] = owner, tokens.copy(), made
            while len(self._entries) > _RECENT:
                del self._entries[next(iter(self._entries))]
        return made
