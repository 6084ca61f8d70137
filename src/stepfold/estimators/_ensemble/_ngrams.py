"""Which n-grams a text holds, as integers: learnt from some token ids, looked up in others."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._tokens import FIRST_WORD

NONE = -1
"""The feature of a token at which no known n-gram ends."""


class Groups(NamedTuple):
    """Blocks of texts, the units in which n-grams are counted; each belongs to one group, a fold of a class.

    Attributes:
        block: (texts,) the block of each text.
        group: (blocks,) the group of each block.
        number: the number of groups.
    """

    block: NDArray[np.int64]
    group: NDArray[np.int64]
    number: int


class NgramTable:
    """The n-grams of one encoded that were seen in at least two blocks; each is a feature, numbered from 0.

    Args:
        vocabulary_size: every token id is below it.
        keys: for each length n, sorted integers: for n = 1 the token's id, then the feature of the n-gram
            without its last token, times `vocabulary_size`, plus the last token's id.
    """

    def __init__(self, vocabulary_size: int, keys: list[NDArray[np.int64]]) -> None:
        self.vocabulary_size = vocabulary_size
        self.keys = keys

    @property
    def size(self) -> int:
        """The number of features."""
        return sum(map(len, self.keys))

    @classmethod
    def learn(
        cls,
        ids: NDArray[np.integer[Any]],
        offsets: NDArray[np.int64],
        groups: Groups,
        longest: int,
        size: int,
    ) -> tuple["NgramTable", NDArray[np.int32], NDArray[np.int32]]:
        """Learn the n-grams up to a length.

        Args:
            ids: (tokens,) ids of all texts; those below `FIRST_WORD` are in no n-gram.
            offsets: (texts + 1,), where each text begins.
            groups: where n-grams are counted; the texts are in the order of their blocks.
            longest: the greatest n.
            size: every id is below it.

        Returns:
            The table, the features of all tokens as from `features`, and (features, groups) counts of blocks.
        """
        table = cls(size, [])
        block = np.repeat(groups.block, np.diff(offsets))
        levels: list[NDArray[np.int64]] = []
        counts = []
        for _ in range(longest):
            at, keys = table._keys(ids, offsets, levels)
            order = np.argsort(keys, kind="stable")
            at, keys = at[order], keys[order]
            first = _changes(keys)
            feature = np.cumsum(first) - 1
            # an n-gram's tokens are in the order of the blocks: where either changes a new block begins
            block_first = first | _changes(block[at])
            kept = np.bincount(feature[block_first], minlength=int(first.sum())) >= 2
            number = np.where(kept, np.cumsum(kept) - 1, NONE)[feature]
            table.keys.append(keys[first][kept])
            levels.append(np.full(len(ids), NONE))
            levels[-1][at] = number
            counted = block_first & (number >= 0)
            cells = number[counted] * groups.number + groups.group[block[at[counted]]]
            total = int(kept.sum()) * groups.number
            counts.append(np.bincount(cells, minlength=total).reshape(-1, groups.number))
        return table, table._numbered(levels), np.concatenate(counts).astype(np.int32)

    def features(self, ids: NDArray[np.integer[Any]], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the feature of the n-gram that ends at each token, (tokens, longest), or `NONE`."""
        levels: list[NDArray[np.int64]] = []
        for known in self.keys:
            at, keys = self._keys(ids, offsets, levels)
            place = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
            levels.append(np.full(len(ids), NONE))
            if len(known):
                levels[-1][at] = np.where(known[place] == keys, place, NONE)
        return self._numbered(levels)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the table as arrays, for `from_arrays`."""
        arrays: dict[str, NDArray[Any]] = {f"keys{n}": keys for n, keys in enumerate(self.keys, 1)}
        return {"vocabulary_size": np.array(self.vocabulary_size), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "NgramTable":
        """Return the table that `to_arrays` wrote."""
        keys = [arrays[f"keys{n}"].astype(np.int64) for n in range(1, len(arrays))]
        return cls(int(arrays["vocabulary_size"]), keys)

    def _keys(
        self, ids: NDArray[np.integer[Any]], offsets: NDArray[np.int64], levels: list[NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where an n-gram one longer than those of `levels` may end, and the keys of these n-grams."""
        if not levels:
            at = np.flatnonzero(ids >= FIRST_WORD)
            return at, ids[at].astype(np.int64)
        before = np.concatenate(([NONE], levels[-1][:-1])) if len(ids) else levels[-1]
        before[offsets[:-1][offsets[:-1] < len(ids)]] = NONE
        at = np.flatnonzero((before >= 0) & (levels[0] >= 0))
        return at, before[at] * self.vocabulary_size + ids[at]

    def _numbered(self, levels: list[NDArray[np.int64]]) -> NDArray[np.int32]:
        """Number the features of all lengths one after another."""
        starts = np.cumsum([0, *map(len, self.keys)])
        shifted = [
            np.where(level >= 0, level + start, NONE) for level, start in zip(levels, starts, strict=False)
        ]
        return np.stack(shifted, axis=1).astype(np.int32)


def _changes(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where a value differs from the one before; the first one does."""
    return np.concatenate((np.ones(min(len(values), 1), bool), values[1:] != values[:-1]))
