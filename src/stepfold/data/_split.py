"""Dividing labelled examples into those to train on and those to validate on, from labels alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError

_Rows: TypeAlias = NDArray[np.int64]


def split(
    labels: NDArray[np.int32], classes: Sequence[str], *, seed: int, validation: float = 0.2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the examples, shuffled, with the same share of every class on both sides.

    Args:
        labels: (examples,) integers below ``len(classes)``.
        classes: the names, for the errors.
        seed: decides the shuffle.
        validation: the share that is held out, rounded for each class but at least one example.

    Returns:
        The indices of the training examples and of the validation examples, int64.

    Raises:
        DataError: a class has fewer than two examples, or there are fewer than two classes.
    """

    def parts(members: _Rows, random: np.random.Generator) -> tuple[_Rows, _Rows]:
        shuffled = random.permutation(members)
        cut = min(max(1, round(validation * len(members))), len(members) - 1)
        return shuffled[cut:], shuffled[:cut]

    return _divide(labels, classes, seed, parts)


def split_blocks(
    labels: NDArray[np.int32],
    classes: Sequence[str],
    *,
    block: int,
    positions: NDArray[np.int64] | None = None,
    blocks: int = 5,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out one block of neighbours of every class, in the order of the file.

    Examples that lie side by side in a file are often alike: IMDB's reviews are stored film by film. A random
    split shows a network the films that it is validated on; a block keeps nearly all films apart.

    Args:
        labels: (examples,) integers below ``len(classes)``.
        classes: the names, for the errors.
        block: which block of each class is held out, from 0 to ``blocks - 1``.
        positions: (examples,) each example's position in the file; None if the examples are in its order.
        blocks: the number of blocks that each class is cut into, of equal size to within one.
        seed: decides the order of the indices returned, not which they are.

    Returns:
        The indices of the training examples and of the validation examples, int64, shuffled.

    Raises:
        DataError: no such block, a class has fewer examples than blocks, or there are fewer than two classes.
    """
    if blocks < 2 or not 0 <= block < blocks:
        raise DataError(
            f"there is no block {block} of {blocks}: blocks count from 0 and there are two at least"
        )
    order = np.arange(len(labels)) if positions is None else np.asarray(positions)
    if order.shape != labels.shape:
        raise DataError(f"positions have shape {order.shape}, labels {labels.shape}; give one for each")

    def parts(members: _Rows, random: np.random.Generator) -> tuple[_Rows, _Rows]:
        if len(members) < blocks:
            raise DataError(
                f"a class of {len(members)} texts cannot be cut into {blocks} blocks; "
                "use a random split, or add texts"
            )
        cut = np.array_split(members[np.argsort(order[members], kind="stable")], blocks)
        held = cut.pop(block)
        return np.concatenate(cut), held

    return _divide(labels, classes, seed, parts)


def _divide(
    labels: NDArray[np.int32],
    classes: Sequence[str],
    seed: int,
    parts: Callable[[_Rows, np.random.Generator], tuple[_Rows, _Rows]],
) -> tuple[_Rows, _Rows]:
    """Divide each class's members into those to train on and those held out, then shuffle both sides."""
    if len(classes) < 2:
        raise DataError(
            f"all {len(labels)} texts carry the same label, {classes[0]!r}; "
            "a classifier needs two classes at least"
        )
    random = np.random.default_rng(seed)
    rest, held = [], []
    for k, name in enumerate(classes):
        members = np.flatnonzero(labels == k)
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has {len(members)} text, too few to train on one and validate on another; "
                "add texts of that class or remove it"
            )
        training, validation = parts(members, random)
        rest.append(training)
        held.append(validation)
    return random.permutation(np.concatenate(rest)), random.permutation(np.concatenate(held))
