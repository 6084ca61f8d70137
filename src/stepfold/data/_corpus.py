"""Labelled sequences of word ids; padding them to one length, and splitting them in two parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._errors import DataError
from ._vocabulary import PADDING, Vocabulary, encode_all


@dataclass(frozen=True)
class Corpus:
    """Texts as word ids, with their classes.

    Attributes:
        sequences: one (words + 1,) int32 array a text, the start mark first.
        labels: (texts,) int32, each an index into ``classes``.
        classes: the classes' names.
        vocabulary: the words of the ids; None where the source holds ids only.
        vocabulary_size: the number of distinct ids; every id is below it.
    """

    sequences: list[NDArray[np.int32]]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    vocabulary: Vocabulary | None
    vocabulary_size: int

    @classmethod
    def from_texts(
        cls, texts: Sequence[str], labels: NDArray[np.int32], classes: tuple[str, ...], vocabulary_size: int
    ) -> "Corpus":
        """Encode texts as word ids below ``vocabulary_size`` (see ``encode_all``)."""
        sequences, vocabulary = encode_all(texts, vocabulary_size)
        return cls(sequences, labels, classes, vocabulary, vocabulary.size)


def pad(sequences: Sequence[NDArray[np.int32]], length: int) -> NDArray[np.int32]:
    """Return (texts, length) int32: the last ``length`` ids of each sequence, padded on the left with 0."""
    if length < 1:
        raise DataError(f"length must be at least 1, got {length}")
    padded = np.full((len(sequences), length), PADDING, np.int32)
    for row, sequence in zip(padded, sequences, strict=True):
        tail = sequence[-length:]
        row[length - len(tail) :] = tail
    return padded


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
    if len(classes) < 2:
        raise DataError(
            f"all {len(labels)} texts carry the same label, {classes[0]!r}; "
            "a classifier needs two classes at least"
        )
    random = np.random.default_rng(seed)
    held_out, rest = [], []
    for k, name in enumerate(classes):
        members = random.permutation(np.flatnonzero(labels == k))
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has {len(members)} text, too few to train on one and validate on another; "
                "add texts of that class or remove it"
            )
        cut = min(max(1, round(validation * len(members))), len(members) - 1)
        held_out.append(members[:cut])
        rest.append(members[cut:])
    return random.permutation(np.concatenate(rest)), random.permutation(np.concatenate(held_out))
