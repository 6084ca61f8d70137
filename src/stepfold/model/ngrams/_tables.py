"""N-grams of token ids, looked up in tables; negations and the words that they mark.

Texts are token ids one after another, (tokens,), and where each text begins, (texts + 1,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""The ids that are no words; words follow. No n-gram holds an unknown word."""

NONE = -1
"""The feature of a token at which no known n-gram ends."""

_SCOPE = 5

Integers = NDArray[np.integer[Any]]


class Ngrams:
    """N-grams of one kind of ids up to some length; each is a feature, numbered from 0.

    Args:
        vocabulary_size: every token id is below it.
        keys: for each length n, ascending integers: for n = 1 the token's id, then the feature of the n-gram
            without its last token, times `vocabulary_size`, plus the last token's id.
    """

    def __init__(self, vocabulary_size: int, keys: Sequence[NDArray[np.int64]]) -> None:
        self.vocabulary_size, self.keys = vocabulary_size, tuple(keys)

    @property
    def size(self) -> int:
        """The number of features."""
        return sum(map(len, self.keys))

    def features(self, ids: Integers, offsets: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the feature of the n-gram that ends at each token, (tokens, longest), or `NONE`."""
        levels: list[NDArray[np.int64]] = []
        for known in self.keys:
            at, keys = candidates(ids, offsets, levels, self.vocabulary_size)
            place = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
            levels.append(np.full(len(ids), NONE))
            if len(known):
                levels[-1][at] = np.where(known[place] == keys, place, NONE)
        return numbered(levels, self.keys)


def candidates(
    ids: Integers, offsets: NDArray[np.int64], levels: Sequence[NDArray[np.int64]], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where an n-gram one longer than those of `levels` may end, and the keys of these n-grams.

    Args:
        ids, offsets: the texts.
        levels: for each length so far the place in its keys of the n-gram that ends at each token, or `NONE`.
        size: every id is below it.
    """
    if not levels:
        at = np.flatnonzero(ids >= FIRST_WORD)
        return at, ids[at].astype(np.int64)
    before = np.concatenate(([NONE], levels[-1][:-1])) if len(ids) else levels[-1]
    before[offsets[:-1][offsets[:-1] < len(ids)]] = NONE
    at = np.flatnonzero((before >= 0) & (levels[0] >= 0))
    keys: NDArray[np.int64] = before[at] * np.int64(size) + ids[at].astype(np.int64)
    return at, keys


def numbered(levels: Sequence[NDArray[np.int64]], keys: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
    """Number the features of all lengths, or of all kinds, one after another: (tokens, lengths)."""
    starts = np.cumsum([0, *map(len, keys)])
    shifted = [
        np.where(level >= 0, level + start, NONE) for level, start in zip(levels, starts, strict=False)
    ]
    return np.stack(shifted, axis=1).astype(np.int32)


def in_scope(
    ids: Integers, offsets: NDArray[np.int64], negations: Integers, stops: Integers
) -> NDArray[np.bool_]:
    """Return which tokens stand in the scope of a negation, (tokens,).

    The scope is the five tokens after a negation, up to the next stop (punctuation) or the text's end.
    """
    place = np.arange(len(ids))
    stop = np.isin(ids, stops)
    last_negation, last_stop = (_last_before(each, place) for each in (np.isin(ids, negations), stop))
    start = np.repeat(offsets[:-1], np.diff(offsets))
    inside = (place - last_negation <= _SCOPE) & (last_negation > last_stop) & (last_negation >= start)
    return inside & ~stop


def _last_before(here: NDArray[np.bool_], place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the last place before each one where a condition held; far before all if there is none."""
    last = np.maximum.accumulate(np.where(here, place, -(_SCOPE + 1)))
    return np.concatenate(([-(_SCOPE + 1)], last[:-1])) if len(last) else last


def first_and_last(offsets: NDArray[np.int64], length: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which tokens are kept of texts longer than `length`, the first and the last ones, (tokens,), and
    the new offsets."""
    lengths = np.diff(offsets)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    whole = np.repeat(lengths, lengths)
    kept = (whole <= length) | (place < length // 2) | (place >= whole - (length - length // 2))
    return kept, np.concatenate(([0], np.cumsum(np.minimum(lengths, length))))
