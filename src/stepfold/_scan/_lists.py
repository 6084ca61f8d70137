"""Lists of places and tokens, made by small kernels of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ._calls import small

Array = NDArray[Any]
Whole = NDArray[np.int64]
_LONG = 100_000  # numbers from which on other threads shall run meanwhile


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


def share(tokens: Array, words: int) -> tuple[Whole, Whole, Whole, int]:
    """Which rows of tokens (batch, time), of any strides, share a run of one token at their start.

    Returns for each row how long its part is, (batch,); the rows with the shortest first; how many timesteps
    these have left; and how many timesteps are saved. There is at least one timestep, and no token but
    0…words - 1.
    """
    (batch, time), size = tokens.shape, tokens.itemsize
    memory = np.empty(6 * batch + time + 3, np.int64)
    leaders, total, longest, joins, rows, counts = memory[: 6 * batch].reshape(6, batch)
    call = {
        "batch": batch,
        "time": time,
        "row_place": tokens.strides[0] // size,
        "time_place": tokens.strides[1] // size,
        "tokens": tokens,
        "leaders": leaders,
        "total": total,
        "longest": longest,
        "joins": joins,
        "rows_in_order": rows,
        "counts": counts,
        "begins": memory[6 * batch : -1],
        "saved": memory[-1:],
    }
    index = Index(words)
    _call(f"share{8 * size}", {**call, "index": index.array}, tokens.size)
    index.give_back()
    return joins, rows, counts, int(memory[-1])


class Index:
    """A list of -1 for each word, lent to a kernel that leaves it as it was: to write it anew would cost more
    than to sort a batch's tokens."""

    _spare: ClassVar[dict[int, list[Array]]] = {}

    def __init__(self, words: int) -> None:
        self._held = self._spare.setdefault(words, [])
        try:
            self.array = self._held.pop()
        except IndexError:
            self.array = np.full(words, -1, np.int64)

    def give_back(self) -> None:
        """Lend it to the next."""
        self._held.append(self.array)


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
