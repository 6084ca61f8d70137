"""Which n-grams texts hold, learnt from their token ids."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...model.ngrams import NONE, Ngrams, candidates, numbered


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


def learn_ngrams(
    ids: NDArray[np.integer[Any]],
    offsets: NDArray[np.int64],
    groups: Groups,
    longest: int,
    size: int,
) -> tuple[Ngrams, NDArray[np.int32], NDArray[np.int32]]:
    """Learn the n-grams up to a length, those that were seen in at least two blocks.

    Args:
        ids: (tokens,) ids of all texts; those below `FIRST_WORD` are in no n-gram.
        offsets: (texts + 1,), where each text begins.
        groups: where n-grams are counted; the texts are in the order of their blocks.
        longest: the greatest n.
        size: every id is below it.

    Returns:
        The n-grams, the features of all tokens as from `Ngrams.features`, and counts of blocks, (features,
        groups).
    """
    known: list[NDArray[np.int64]] = []
    block = np.repeat(groups.block, np.diff(offsets))
    levels: list[NDArray[np.int64]] = []
    counts = []
    for _ in range(longest):
        at, keys = candidates(ids, offsets, levels, size)
        order = np.argsort(keys, kind="stable")
        at, keys = at[order], keys[order]
        first = _changes(keys)
        feature = np.cumsum(first) - 1
        # an n-gram's tokens are in the order of the blocks: where either changes a new block begins
        block_first = first | _changes(block[at])
        kept = np.bincount(feature[block_first], minlength=int(first.sum())) >= 2
        number = np.where(kept, np.cumsum(kept) - 1, NONE)[feature]
        known.append(keys[first][kept])
        levels.append(np.full(len(ids), NONE))
        levels[-1][at] = number
        counted = block_first & (number >= 0)
        cells = number[counted] * groups.number + groups.group[block[at[counted]]]
        total = int(kept.sum()) * groups.number
        counts.append(np.bincount(cells, minlength=total).reshape(-1, groups.number))
    return Ngrams(size, known), numbered(levels, known), np.concatenate(counts).astype(np.int32)


def _changes(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where a value differs from the one before; the first one does."""
    return np.concatenate((np.ones(min(len(values), 1), bool), values[1:] != values[:-1]))
